//! A zone: names, and the records that each of them has.
//!
//! Built once, never changed. It refuses wildcards and delegations: a name exists or does not.
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::{
    base::{Name, Rtype, Serial, ToName, Ttl, name::FromStrError},
    rdata::{A, Aaaa, Ns, Soa, Txt, ZoneRecordData},
};
use thiserror::Error;

/// A name that owns its bytes.
pub type ZoneName = Name<Vec<u8>>;

/// What a record says.
pub type Data = ZoneRecordData<Vec<u8>, ZoneName>;

/// Seconds that an answer may be remembered.
const TTL: Ttl = Ttl::from_secs(300);

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: ZoneName,
    soa: Data,
    records: Vec<(ZoneName, Data)>,
}

/// A zone that cannot be.
#[derive(Debug, Error)]
pub enum ZoneError {
    /// A name is none.
    #[error("not a domain name")]
    Name(#[from] FromStrError),
    /// A text is longer than a record holds.
    #[error("a text of {0} bytes is too long")]
    Text(usize),
}

impl Zone {
    /// The zone that the example serves: `octroi.test` (RFC 6761 keeps `.test` for such).
    ///
    /// # Errors
    /// Never: what it is made of is legal.
    pub fn example() -> Result<Self, ZoneError> {
        let mut zone = Self::new("octroi.test", "ns.octroi.test", "gate.octroi.test")?;
        let addresses = [(1, "ns"), (80, "www")];
        for (host, label) in addresses {
            let name = format!("{label}.octroi.test");
            zone.add(&name, A::new(Ipv4Addr::new(192, 0, 2, host)).into())?;
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into());
            zone.add(&name, Aaaa::new(v6).into())?;
        }
        zone.text("motto.octroi.test", "inspected, taxed, let through or turned back")?;
        // More than an answer without EDNS has room for.
        zone.text("long.octroi.test", &"let through or turned back; ".repeat(30))?;
        Ok(zone)
    }

    /// A zone that has nothing but what every zone has.
    ///
    /// # Errors
    /// [`ZoneError::Name`].
    pub fn new(apex: &str, server: &str, mailbox: &str) -> Result<Self, ZoneError> {
        let (apex, server, mailbox) =
            (Name::vec_from_str(apex)?, Name::vec_from_str(server)?, Name::vec_from_str(mailbox)?);
        let hours = |hours: u32| Ttl::from_secs(3600 * hours);
        let (refresh, retry, expire) = (hours(4), hours(1), hours(24 * 14));
        let soa: Data = Soa::new(server.clone(), mailbox, Serial(1), refresh, retry, expire, TTL).into();
        let records = vec![(apex.clone(), soa.clone()), (apex.clone(), Ns::new(server).into())];
        Ok(Self { apex, soa, records })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`ZoneError::Name`].
    pub fn add(&mut self, name: &str, data: Data) -> Result<(), ZoneError> {
        self.records.push((Name::vec_from_str(name)?, data));
        Ok(())
    }

    /// Adds a text, in strings of 255 bytes.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn text(&mut self, name: &str, text: &str) -> Result<(), ZoneError> {
        let txt =
            Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).map_err(|_| ZoneError::Text(text.len()))?;
        self.add(name, txt.into())
    }

    /// The name of the zone itself.
    #[must_use]
    pub const fn apex(&self) -> &ZoneName {
        &self.apex
    }

    /// What negative answers carry.
    #[must_use]
    pub const fn soa(&self) -> &Data {
        &self.soa
    }

    /// How long an answer may be remembered.
    #[must_use]
    pub const fn ttl(&self) -> Ttl {
        TTL
    }

    /// Whether the name is in this zone, whether or not it exists.
    pub fn covers(&self, name: &impl ToName) -> bool {
        name.ends_with(&self.apex)
    }

    /// Whether the name exists: it, or one below it, has a record.
    pub fn exists(&self, name: &impl ToName) -> bool {
        self.records.iter().any(|(owner, _)| owner.ends_with(name))
    }

    /// The records of a name that are of a type, or for ANY the first of them (RFC 8482).
    pub fn find<'z>(&'z self, name: &impl ToName, wanted: Rtype) -> impl Iterator<Item = &'z Data> {
        let all = self.records.iter().filter(|(owner, _)| owner.name_eq(name)).map(|(_, data)| data);
        let most = if wanted == Rtype::ANY { 1 } else { usize::MAX };
        all.filter(move |data| wanted == Rtype::ANY || rtype(data) == wanted).take(most)
    }
}

/// The type of a record.
fn rtype(data: &Data) -> Rtype {
    domain::base::RecordData::rtype(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_exist_with_records_or_below() {
        let mut zone = Zone::example().unwrap();
        zone.text("deep.down.octroi.test", "x").unwrap();
        let name = |text: &str| Name::vec_from_str(text).unwrap();
        for exists in ["octroi.test", "www.octroi.test", "WWW.Octroi.TEST", "down.octroi.test"] {
            assert!(zone.exists(&name(exists)), "{exists}");
        }
        for missing in ["w.octroi.test", "x.www.octroi.test"] {
            assert!(zone.covers(&name(missing)) && !zone.exists(&name(missing)), "{missing}");
        }
        assert!(!zone.covers(&name("example.test")) && !zone.covers(&name("notoctroi.test")));
    }

    #[test]
    fn records_are_found_by_type() {
        let mut zone = Zone::example().unwrap();
        assert!(zone.text("x.octroi.test", &"y".repeat(70_000)).is_err());
        let count = |name: &str, wanted| zone.find(&Name::vec_from_str(name).unwrap(), wanted).count();
        assert_eq!(count("www.octroi.test", Rtype::A), 1);
        assert_eq!(count("www.octroi.test", Rtype::TXT), 0);
        assert_eq!(count("octroi.test", Rtype::ANY), 1);
        assert_eq!(count("OCTROI.test", Rtype::SOA), 1);
    }
}
