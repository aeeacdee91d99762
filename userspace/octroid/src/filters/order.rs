//! One filter to be made, and making it: a function of what was asked for, which opens nothing and waits for nobody.
//!
//! A program that is wrong is no refusal: it is answered with what is wrong about it.
use std::sync::Arc;

use client::control::{
    refusal::{Code, Refusal},
    ruler::{RuleRow, RulerAttach, Said, Scope, TargetName, TargetSort, Where},
};
use ixp::filter::Installed;
use ruler::{
    bundle::Bundle,
    diagnostic::{self, Diagnostic},
    exec::ladder::{self, Slow},
    filter::{
        Filter, Limits, Params, Report, RuleReport,
        scope::{self, Attachment, Neighbours},
    },
    rewrite::{Bounds, key::Key},
};
use serde::Serialize;
use serde_json::Value;

use super::header::Headed;

/// The MTU that is reckoned with while a device is not there.
pub const USUAL_MTU: u32 = 1500;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// How it is to be attached.
    pub ask: RulerAttach,
    /// Its sources.
    pub bundle: Bundle,
    /// By what addresses are anonymised.
    pub key: Option<Key>,
    /// Where it is to run.
    pub site: Site,
    /// The number that it gets.
    pub generation: u64,
}

/// What must be known of the place where a filter is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The longest IP packet that leaves there.
    pub mtu: u32,
    /// VLAN tags of the frames that are served.
    pub tags: usize,
    /// Engines that will run it.
    pub engines: usize,
}

/// What became of an order: what is said of the program, and the filter if that is right.
#[derive(Debug)]
pub struct Made {
    /// What the compiler said.
    pub said: Said,
    /// The filter.
    pub filter: Option<Ready>,
    /// Its header program, if there was a chain to make one for.
    pub headed: Option<Headed>,
}

/// A filter that can be attached.
#[derive(Clone, Debug)]
pub struct Ready {
    /// To what.
    pub at: Where,
    /// Which packets it judges.
    pub scope: Scope,
    /// Codes with which packets are the OS stack's.
    pub pass: Vec<u16>,
    /// The file that has it.
    pub file: String,
    /// What it became.
    pub report: Report,
    /// Its rules, not counted yet.
    pub rules: Vec<RuleRow>,
    /// Why it is slower than a filter should be.
    pub degraded: Option<String>,
    /// The filter with its memory.
    pub installed: Arc<Installed>,
}

/// Outputs as long as the packets of a device with this MTU.
#[must_use]
pub fn bounds(mtu: u32) -> Bounds {
    Bounds::of_mtu(u16::try_from(mtu).unwrap_or(u16::MAX))
}

impl Ready {
    /// The same, on this target.
    #[must_use]
    pub fn on(self, tuple: u16) -> Self {
        let target = TargetName { kind: TargetSort::Builtin, id: tuple, tuple: None };
        Self { at: Where::Target(target), ..self }
    }
}

impl Order {
    /// Makes it.
    ///
    /// # Errors
    /// What was asked for is not in the program, or cannot be had where it is to run.
    pub fn make(&self) -> Result<Made, Refusal> {
        self.check()?;
        let (filters, mut found) = ruler::compile(&self.bundle, &self.limits());
        if found.iter().any(Diagnostic::is_error) {
            return self.wrong(&found);
        }
        let filter = self.choose(filters)?;
        let report = filter.report();
        if let Where::Port(_) = self.ask.at {
            found.extend(scope::check(&filter, &self.attachment()));
        }
        let bound = match filter.bind(&Params { bounds: bounds(self.site.mtu), key: self.key }) {
            Ok(bound) => bound,
            Err(error) => {
                found.push(error.diagnostic().clone());
                return self.wrong(&found);
            }
        };
        if found.iter().any(Diagnostic::is_error) {
            return self.wrong(&found);
        }
        let mut said = self.said(&found)?;
        said.report = Some(json(&report)?);
        let ready = Ready {
            at: self.ask.at.clone(),
            scope: self.ask.scope,
            pass: self.ask.pass.clone(),
            file: self.bundle.root().to_owned(),
            rules: self.rules(&report),
            degraded: degraded(&found),
            report,
            installed: Installed::new(bound, self.generation, self.site.engines),
        };
        Ok(Made { said, filter: Some(ready), headed: None })
    }

    fn check(&self) -> Result<(), Refusal> {
        let RulerAttach { at, scope, pass, .. } = &self.ask;
        if matches!(at, Where::Target(_)) && (*scope != Scope::Steered || !pass.is_empty()) {
            return Err(Code::Einval.because("scope and pass are for filters of interfaces"));
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        let slow = if self.ask.allow_slow { Slow::Allowed } else { Slow::Refused };
        Limits { engines: ladder::Limits { slow, ..ladder::Limits::default() }, ..Limits::default() }
    }

    fn attachment(&self) -> Attachment<'_> {
        Attachment {
            scope: match self.ask.scope {
                Scope::Steered => scope::Scope::Steered,
                Scope::Interface => scope::Scope::Interface,
            },
            pass: &self.ask.pass,
            neighbours: if self.ask.force { Neighbours::GivenUp } else { Neighbours::Needed },
            tags: self.site.tags,
        }
    }

    fn choose(&self, filters: Vec<Filter>) -> Result<Filter, Refusal> {
        let names: Vec<_> = filters.iter().map(|filter| format!("`{}`", filter.name())).collect();
        let (root, names) = (self.bundle.root(), names.join(", "));
        let wanted = self.ask.filter.as_deref();
        let mut meant =
            filters.into_iter().filter(|filter| wanted.is_none_or(|wanted| wanted == filter.name()));
        match (meant.next(), meant.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => {
                Err(Code::Einval.because(format_args!("{root} has several filters, say which: {names}")))
            }
            (None, _) if names.is_empty() => Err(Code::Einval.because(format_args!("{root} has no filter"))),
            (None, _) => Err(Code::Einval.because(format_args!("{root} has no such filter; it has {names}"))),
        }
    }

    fn wrong(&self, found: &[Diagnostic]) -> Result<Made, Refusal> {
        Ok(Made { said: self.said(found)?, filter: None, headed: None })
    }

    fn said(&self, found: &[Diagnostic]) -> Result<Said, Refusal> {
        let diagnostics = found.iter().map(json).collect::<Result<_, _>>()?;
        Ok(Said { diagnostics, text: diagnostic::text(&self.bundle, found), ..Said::default() })
    }

    fn rules(&self, report: &Report) -> Vec<RuleRow> {
        let source = self.bundle.source(self.bundle.root()).unwrap_or_default();
        let mut lines = Lines { source, at: 0, line: 1 };
        let row = |rule: &RuleReport| RuleRow {
            rule: u32::try_from(rule.number).unwrap_or(u32::MAX),
            line: lines.of(rule.span.start),
            action: rule.action.to_owned(),
            code: rule.code,
            matched: 0,
            refused: 0,
            header: 0,
        };
        report.rules.iter().map(row).collect()
    }
}

/// Lines of places that come in order.
struct Lines<'a> {
    source: &'a [u8],
    at: usize,
    line: u32,
}

impl Lines<'_> {
    fn of(&mut self, at: usize) -> u32 {
        let passed = self.source.get(self.at..at).unwrap_or_default();
        let lines = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line += u32::try_from(lines).unwrap_or(u32::MAX);
        self.at = at.max(self.at);
        self.line
    }
}

/// What the compiler says of rules that run on a slow engine.
fn degraded(found: &[Diagnostic]) -> Option<String> {
    let slow: Vec<_> = found
        .iter()
        .filter(|one| one.code == diagnostic::Code::Explodes)
        .map(|one| one.message.as_str())
        .collect();
    (!slow.is_empty()).then(|| slow.join("; "))
}

fn json(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Code::Eio.because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(source: &str) -> Order {
        let source = format!("include \"layouts.rli\"\n{source}");
        Order {
            ask: RulerAttach {
                at: Where::Port("eth0".into()),
                scope: Scope::Steered,
                pass: Vec::new(),
                force: false,
                filter: None,
                allow_slow: false,
            },
            bundle: Bundle::new("f.rl", source),
            key: None,
            site: Site { mtu: 1500, tags: 0, engines: 2 },
            generation: 7,
        }
    }

    fn codes(made: &Made) -> Vec<&str> {
        made.said.diagnostics.iter().filter_map(|one| one["code"].as_str()).collect()
    }

    #[test]
    fn a_right_program_is_ready() {
        let made = order("filter f\n 1 * => reject 3;\n * => accept;").make().unwrap();
        let ready = made.filter.as_ref().unwrap();
        assert_eq!((codes(&made), ready.installed.generation()), (Vec::new(), 7));
        let lines: Vec<_> =
            ready.rules.iter().map(|rule| (rule.rule, rule.line, rule.action.as_str(), rule.code)).collect();
        assert_eq!(lines, [(1, 3, "reject", 3), (2, 4, "accept", 0)]);
        assert_eq!(made.said.report.unwrap()["filter"], "f");
        assert_eq!(ready.degraded, None);
    }

    #[test]
    fn a_wrong_program_is_answered_with_what_is_wrong() {
        let made = order("filter f TCP with [dest=80] * => accept;").make().unwrap();
        assert!(made.filter.is_none() && made.said.report.is_none());
        assert_eq!(codes(&made), ["RL205"]);
        assert_eq!(made.said.diagnostics[0]["span"]["start"], 41);
        assert!(made.said.text.contains("f.rl:2:"), "{}", made.said.text);
        let anonymising = "filter f Ethernet i:IPv4 p:* => i with [src=prefix_anon(i.src)] p;";
        assert!(codes(&order(anonymising).make().unwrap()).contains(&"RL404"));
        let with_key = Order { key: Some([7; 32]), ..order(anonymising) };
        assert!(with_key.make().unwrap().filter.is_some());
    }

    #[test]
    fn an_interface_must_find_its_neighbours() {
        let mut wrong = order("filter f Ethernet_IPv4 * => accept;");
        wrong.ask.scope = Scope::Interface;
        assert_eq!(codes(&wrong.make().unwrap()), ["RL405", "RL405"]);
        wrong.ask.force = true;
        assert!(wrong.make().unwrap().filter.is_some());
    }

    #[test]
    fn one_filter_must_be_meant() {
        let two = "filter f * => accept; filter g * => reject;";
        let refused = |order: Order| order.make().unwrap_err().detail;
        assert!(refused(order(two)).contains("`f`, `g`"));
        let mut named = order(two);
        named.ask.filter = Some("g".into());
        assert_eq!(named.make().unwrap().filter.unwrap().report.filter, "g");
        named.ask.filter = Some("h".into());
        assert!(refused(named).contains("no such filter"));
        assert!(refused(order("pattern P : 1;")).contains("no filter"));
        let mut target = order("filter f * => accept 1;");
        target.ask.at = Where::Target("builtin:0".parse().unwrap());
        target.ask.pass = vec![1];
        assert_eq!(target.make().unwrap_err().code, Code::Einval);
    }
}
