//! Outputs: the pieces of a rewritten packet and the fields set in them.
//!
//! A constant is a value without range, mask, prefix or ignored case.

use super::{Parser, Read};
use crate::syntax::token::{Keyword, Kind};
use crate::syntax::tree::{Extent, Integer, Made, Output, SetTo, Setting, Value};

impl Parser<'_> {
    pub(super) fn outputs(&mut self) -> Read<Vec<Output>> {
        let mut outputs = vec![self.output()?];
        while self.begins_output() {
            outputs.push(self.output()?);
        }
        Ok(outputs)
    }

    /// A name with `:` behind it is the label of the next rule: a `;` was forgotten.
    fn begins_output(&self) -> bool {
        match self.kind() {
            Kind::Ident(_) => *self.next_kind() != Kind::Sign(":"),
            Kind::Sign(_) | Kind::Keyword(_) | Kind::Size(..) | Kind::CaselessText(_) | Kind::End => false,
            _ => true,
        }
    }

    fn output(&mut self) -> Read<Output> {
        if !matches!(self.kind(), Kind::Ident(_)) || *self.next_kind() == Kind::Sign("(") {
            return Ok(Output::Made(self.made("an action: `accept`, `reject`, a label or a constant")?));
        }
        let path = self.path("a label")?;
        Ok(Output::Part(path, self.settings()?))
    }

    fn settings(&mut self) -> Read<Vec<Setting>> {
        if !self.accept(&Kind::Keyword(Keyword::With)) {
            return Ok(Vec::new());
        }
        self.sign("[")?;
        let all = self.list(",", Self::setting)?;
        self.sign("]")?;
        Ok(all)
    }

    fn setting(&mut self) -> Read<Setting> {
        let path = self.path("a field")?;
        self.sign("=")?;
        let value = if matches!(self.kind(), Kind::Ident(_)) && *self.next_kind() != Kind::Sign("(") {
            SetTo::Part(self.path("a label")?)
        } else {
            SetTo::Made(self.made("a constant, a function or a label")?)
        };
        Ok(Setting { path, value })
    }

    fn made(&mut self, wanted: &str) -> Read<Made> {
        if matches!(self.kind(), Kind::Ident(_)) {
            return self.call();
        }
        let value = match self.kind().clone() {
            Kind::Number(_) => {
                let first = self.number()?;
                Value::Integer(Integer { first, extent: Extent::One, size: self.size()? })
            }
            Kind::Ipv4(address) => self.plain(Value::Ipv4(address, None)),
            Kind::Ip6(address) => self.plain(Value::Ip6(address, None)),
            Kind::Text(bytes) | Kind::Bytes(bytes) => self.plain(Value::Bytes(bytes)),
            _ => return Err(self.unexpected(wanted)),
        };
        let repeated = matches!(value, Value::Integer(_));
        Ok(Made::Constant(value, if repeated { self.copies()? } else { None }))
    }

    fn plain(&mut self, value: Value) -> Value {
        self.advance();
        value
    }

    fn call(&mut self) -> Read<Made> {
        let name = self.name("a function")?;
        self.sign("(")?;
        let mut arguments = Vec::new();
        if *self.kind() != Kind::Sign(")") {
            arguments = self.list(",", |parser| parser.path("a label"))?;
        }
        self.sign(")")?;
        Ok(Made::Call(name, arguments))
    }
}
