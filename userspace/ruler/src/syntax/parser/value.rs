//! Values: numbers with ranges, masks and sizes; addresses; bytes; and the sets that `!` turns round.
//!
//! Whether a number fits is judged later, as its size stands behind it.

use super::{Parser, Read};
use crate::syntax::token::{Kind, Unit};
use crate::syntax::tree::{Extent, Integer, Number, Set, Size, Value};

impl Parser<'_> {
    /// `wanted` says what else could have stood here.
    pub(super) fn value(&mut self, wanted: &str) -> Read<Value> {
        let value = match self.kind().clone() {
            Kind::Number(_) => {
                let (first, extent) = self.extent()?;
                return Ok(Value::Integer(Integer { first, extent, size: self.size()? }));
            }
            Kind::Ipv4(address) => {
                self.advance();
                return Ok(Value::Ipv4(address, self.prefix()?));
            }
            Kind::Ip6(address) => {
                self.advance();
                return Ok(Value::Ip6(address, self.prefix()?));
            }
            Kind::Text(bytes) | Kind::Bytes(bytes) => Value::Bytes(bytes),
            Kind::CaselessText(bytes) => Value::Caseless(bytes),
            _ => return Err(self.unexpected(wanted)),
        };
        self.advance();
        Ok(value)
    }

    /// `#` and a number.
    pub(super) fn copies(&mut self) -> Read<Option<Number>> {
        if self.accept(&Kind::Sign("#")) { self.number().map(Some) } else { Ok(None) }
    }

    pub(super) fn set(&mut self) -> Read<Set> {
        if !self.accept(&Kind::Sign("(")) {
            let (first, extent) = self.extent()?;
            return Ok(Set::Integer(Integer { first, extent, size: None }));
        }
        let any = self.nested(|parser| parser.list("|", Self::set))?;
        self.sign(")")?;
        Ok(Set::AnyOf(any))
    }

    fn extent(&mut self) -> Read<(Number, Extent)> {
        let first = self.number()?;
        let extent = if self.accept(&Kind::Sign("..")) {
            Extent::Upto(self.number()?)
        } else if self.accept(&Kind::Sign("/")) {
            Extent::Mask(self.number()?)
        } else {
            Extent::One
        };
        Ok((first, extent))
    }

    pub(super) fn size(&mut self) -> Read<Option<Size>> {
        if !self.accept(&Kind::Sign("~")) {
            return Ok(None);
        }
        let (value, unit) = match *self.kind() {
            Kind::Number(value) => (value, Unit::Bytes),
            Kind::Size(value, unit) => (value, unit),
            _ => return Err(self.unexpected("a size like `2`, `2le` or `12b`")),
        };
        Ok(Some(Size { count: Number { value, span: self.advance() }, unit }))
    }

    fn prefix(&mut self) -> Read<Option<Number>> {
        if self.accept(&Kind::Sign("/")) { self.number().map(Some) } else { Ok(None) }
    }
}
