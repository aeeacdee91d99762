//! Functions of outputs: where each may stand and what it takes.

use super::action::{Target, Writer};
use super::mistake::{self, joined, place};
use super::nearest::nearest;
use crate::diagnostic::{Code, Diagnostic};
use crate::resolved::{LabelId, Part, Value};
use crate::source::Span;
use crate::syntax::tree::{Name, Path};

/// The functions, as a message shows them.
const FUNCTIONS: [(&str, &str); 7] = [
    ("len", "`field=len(label, …)`"),
    ("ipv4_csum", "`csum=ipv4_csum()` of an IPv4 header"),
    ("tcp_csum", "`csum=tcp_csum(ip)` of a TCP header"),
    ("udp_csum", "`csum=udp_csum(ip)` of a UDP header"),
    ("unpad", "`unpad(label, ip)` as an item"),
    ("zero", "`zero(label)` as an item"),
    ("prefix_anon", "`prefix_anon(address)`"),
];
/// Where the checksum of a header is, in bits from its start.
const IPV4_CSUM_OFFSET: u32 = 80;
const TCP_CSUM_OFFSET: u32 = 128;
const UDP_CSUM_OFFSET: u32 = 48;
/// The shortest header of IPv4, in bits.
const IP_BITS_MIN: u64 = 160;

impl Writer<'_> {
    /// A function as an item.
    pub(super) fn call_item(&mut self, name: &Name, arguments: &[Path]) -> Option<Part> {
        match (name.text.as_str(), arguments) {
            ("zero", [part]) => Some(Part::Zero(self.label(part)?)),
            ("unpad", [part, ip]) => {
                let (part, ip) = (self.label(part), self.ip_header(ip));
                Some(Part::Unpad(part?, ip?))
            }
            ("prefix_anon", [address]) => {
                let label = self.label(address)?;
                self.require_address(address)?;
                Some(Part::PrefixAnon(label))
            }
            _ => self.misused(name, "an item"),
        }
    }

    /// A function as the value of a field.
    pub(super) fn call_value(
        &mut self,
        target: &Target<'_>,
        name: &Name,
        arguments: &[Path],
    ) -> Option<Value> {
        match (name.text.as_str(), arguments) {
            ("len", [_, ..]) => {
                let labels: Vec<Option<LabelId>> =
                    arguments.iter().map(|part| self.output_label(name, part)).collect();
                self.require_number(target, name)?;
                Some(Value::Len(labels.into_iter().collect::<Option<_>>()?))
            }
            ("ipv4_csum", []) => {
                self.require_place(target, name, IPV4_CSUM_OFFSET)?;
                Some(Value::Ipv4Csum)
            }
            ("tcp_csum", [ip]) => {
                self.require_place(target, name, TCP_CSUM_OFFSET)?;
                Some(Value::TcpCsum(self.ip_item(name, ip)?))
            }
            ("udp_csum", [ip]) => {
                self.require_place(target, name, UDP_CSUM_OFFSET)?;
                Some(Value::UdpCsum(self.ip_item(name, ip)?))
            }
            ("prefix_anon", [address]) => {
                let label = self.label(address)?;
                self.require_address(address)?;
                self.require_width(target, address)?;
                Some(Value::PrefixAnon(label))
            }
            _ => self.misused(name, "the value of a field"),
        }
    }

    fn misused<T>(&mut self, name: &Name, place: &str) -> Option<T> {
        let known = FUNCTIONS.iter().find(|(function, _)| *function == name.text);
        let found = match known {
            Some((function, usage)) => {
                let message = format!("`{function}` cannot be {place} with these arguments");
                Diagnostic::new(Code::Misused, name.span, message).help(format!("write {usage}"))
            }
            None => {
                let near = nearest(&name.text, FUNCTIONS.iter().map(|(function, _)| *function));
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                let all = FUNCTIONS.map(|(function, _)| function).join(" ");
                let message = format!("no function `{}`", name.text);
                Diagnostic::new(Code::Misused, name.span, message).help(format!("{near}functions: {all}"))
            }
        };
        self.report(found);
        None
    }

    /// A label from which exactly one item of the output is made.
    fn output_label(&mut self, function: &Name, path: &Path) -> Option<LabelId> {
        let label = self.label(path)?;
        let written = joined(path);
        let made = self.sources.iter().flatten().filter(|source| **source == written).count();
        if made != 1 {
            let message =
                format!("`{}` reads the output item made from `{written}`: there are {made}", function.text);
            let help = "it must stand in the output exactly once";
            self.report(Diagnostic::new(Code::Misused, place(path), message).help(help));
            return None;
        }
        Some(label)
    }

    /// The label of an IP header that is output before the item that is being written.
    fn ip_item(&mut self, function: &Name, path: &Path) -> Option<LabelId> {
        let label = self.output_label(function, path)?;
        let written = joined(path);
        let at = self.sources.iter().position(|source| source.as_ref() == Some(&written));
        if at.is_none_or(|at| self.at <= at) {
            let message = format!("`{}` reads an IP header that stands before this item", function.text);
            self.report(Diagnostic::new(Code::Misused, place(path), message));
            return None;
        }
        self.require_ip_header(path)?;
        Some(label)
    }

    fn ip_header(&mut self, path: &Path) -> Option<LabelId> {
        let label = self.label(path)?;
        self.require_ip_header(path)?;
        Some(label)
    }

    fn require_ip_header(&mut self, path: &Path) -> Option<()> {
        let written = joined(path);
        let mut contents = Vec::new();
        self.shape.contents(&written, &mut contents);
        if contents.iter().all(|content| IP_BITS_MIN <= content.length().0 * 8) {
            return Some(());
        }
        let message = format!("`{written}` is too short for an IP header");
        self.report(Diagnostic::new(Code::Misused, place(path), message));
        None
    }

    fn require_address(&mut self, path: &Path) -> Option<()> {
        let bits = self.known(path)?.bits;
        if matches!(bits, Some(32 | 128)) {
            return Some(());
        }
        let message = format!("an address is 4 or 16 bytes, `{}` is {}", joined(path), mistake::width(bits));
        self.report(Diagnostic::new(Code::Misused, place(path), message));
        None
    }

    fn require_number(&mut self, target: &Target<'_>, name: &Name) -> Option<()> {
        if target.bits <= 64 {
            return Some(());
        }
        let message = format!("`len` is a number: field `{}` is too wide for one", joined(target.path));
        self.report(Diagnostic::new(Code::Width, name.span, message));
        None
    }

    fn require_place(&mut self, target: &Target<'_>, name: &Name, offset: u32) -> Option<()> {
        if (target.offset, target.bits) == (offset, 16) {
            return Some(());
        }
        let span: Span = place(target.path).to(name.span);
        let first = offset / 8;
        let message = format!("`{}` belongs into bytes {first} and {} of its header", name.text, first + 1);
        let usage =
            FUNCTIONS.iter().find(|(function, _)| *function == name.text).map_or("", |(_, usage)| usage);
        self.report(Diagnostic::new(Code::Misused, span, message).help(format!("write {usage}")));
        None
    }
}
