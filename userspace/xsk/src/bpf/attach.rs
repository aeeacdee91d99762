//! One interface: both programs loaded onto its maps and attached, or adopted from an earlier daemon.
//!
//! It refuses an interface whose hook is occupied by another program, and a pinned link of another device. It never
//! leaves half of its work behind: what was pinned on the way is removed if attaching fails.
//!
//! ```text
//! compare pins ─► decide: fresh, or adopt the link ─► maps ─► PORT ─► load ─► JUMP[1] = steer ─► JUMP[0], as the caller
//! has it ─► attach or replace ─► pin
//! ```
use std::{
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
};

use abi::{
    pins::{LINK, PROG_INGRESS},
    port::PortConfig,
};

use super::{
    BpfError, HeaderSlot, InterfaceDir, Loaded, MapShape, Object, XdpMode,
    link::XdpLink,
    loaded::{Maps, Shared},
    map::Map,
    occupant,
    pins::remove_pin,
};

/// What to attach to.
#[derive(Clone, Debug)]
pub struct AttachSpec {
    /// The interface's name: the directory of its pins, and what errors call it.
    pub ifname: String,
    /// Its index in the calling thread's network namespace.
    pub ifindex: u32,
    /// The mode, without fallback.
    pub mode: XdpMode,
    /// What `steer` must know of it.
    pub config: PortConfig,
}

/// The programs of one interface, attached to it.
///
/// Dropping it leaves pins as they are: with pins, everything stays attached; without, everything is gone.
#[derive(Debug)]
pub struct Attached {
    ifname: String,
    dir: Option<InterfaceDir>,
    loaded: Loaded,
    link: XdpLink,
}

impl Deref for Attached {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Attached {
    pub(super) fn new(
        spec: &AttachSpec,
        object: &Object,
        dir: Option<InterfaceDir>,
        shared: Shared,
        head: impl FnOnce(&HeaderSlot) -> Result<(), BpfError>,
    ) -> Result<Self, BpfError> {
        let mut found = Found::read(dir.as_ref())?;
        let adopted = found.link_of(spec, dir.as_ref())?;
        if adopted.is_none() {
            refuse_occupied(spec)?;
        }
        let undo = Undo::of(dir.as_ref().filter(|_| adopted.is_none()));
        let maps = found.maps(dir.as_ref())?;
        let loaded = Loaded::new(object, maps, shared, spec.config)?;
        head(&loaded.header_slot()?)?;
        let ingress = loaded.program_fd(PROG_INGRESS)?.as_fd();
        let link = match adopted {
            Some(link) => replace_ingress(&link, &spec.ifname, ingress).map(|()| link)?,
            None => attach_fresh(spec, ingress, dir.as_ref())?,
        };
        undo.forget();
        Ok(Self { ifname: spec.ifname.clone(), dir, loaded, link })
    }

    /// The interface's name.
    #[must_use]
    pub fn ifname(&self) -> &str {
        &self.ifname
    }

    /// See [`Loaded::drain_log`].
    pub fn drain_log(&mut self) -> Vec<String> {
        self.loaded.drain_log()
    }

    /// The kernel's ids of what is attached.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ids(&self) -> Result<Ids, BpfError> {
        let info =
            self.link.info().map_err(|source| BpfError::System { what: "asking for the link", source })?;
        Ok(Ids { program: info.program, link: info.id })
    }

    /// Replaces both programs by those of `object`; no packet meets a moment without a program.
    ///
    /// The two replacements are atomic each. Between them the old `ingress` runs the new `steer`, so the programs of
    /// neighbouring releases must understand each other's metadata; `abi::LAYOUT` changes when they do not.
    ///
    /// # Errors
    /// The object does not load, and nothing changed; or the link refuses it, and what was attached stays.
    pub fn replace(&mut self, object: &Object) -> Result<(), BpfError> {
        let (link, ifname) = (&self.link, &self.ifname);
        self.loaded
            .replace(object, |programs| replace_ingress(link, ifname, programs.fd(PROG_INGRESS)?.as_fd()))
    }

    /// Detaches the programs and removes the interface's pins.
    ///
    /// # Errors
    /// bpffs refuses; without pins there is nothing that could.
    pub fn detach_and_unpin(self) -> Result<(), BpfError> {
        self.dir.map_or(Ok(()), |dir| dir.remove())
    }
}

/// The kernel's ids of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The attached program's.
    pub program: u32,
    /// The link's.
    pub link: u32,
}

/// What is pinned for the interface and passed every comparison.
#[derive(Default)]
struct Found {
    jump: Option<Map>,
    xsks: Option<Map>,
    port: Option<Map>,
    link: Option<XdpLink>,
}

impl Found {
    fn read(dir: Option<&InterfaceDir>) -> Result<Self, BpfError> {
        let Some(dir) = dir else { return Ok(Self::default()) };
        let open = |shape: MapShape| Map::open(shape, &dir.pin(shape.name));
        Ok(Self {
            jump: open(MapShape::JUMP)?,
            xsks: open(MapShape::XSKS)?,
            port: open(MapShape::PORT)?,
            link: open_link(dir)?,
        })
    }

    /// The pinned link, if it holds our program on exactly this device in this mode. One whose device is gone is unpinned.
    fn link_of(
        &mut self,
        spec: &AttachSpec,
        dir: Option<&InterfaceDir>,
    ) -> Result<Option<XdpLink>, BpfError> {
        let (Some(link), Some(dir)) = (self.link.take(), dir) else { return Ok(None) };
        let path = dir.pin(LINK);
        let info = link.info().map_err(|error| BpfError::path(&path, error))?;
        // An index says nothing across network namespaces, a program's id does: it is the system's.
        let here = occupant(spec.ifindex)?.filter(|occupant| occupant.id == info.program);
        match here {
            Some(occupant) if info.ifindex == spec.ifindex && occupant.mode == spec.mode => Ok(Some(link)),
            Some(occupant) if info.ifindex == spec.ifindex => Err(BpfError::Mode {
                ifname: spec.ifname.clone(),
                attached: occupant.mode,
                wanted: spec.mode,
            }),
            _ if info.ifindex == 0 => remove_pin(&path).map(|()| None),
            _ => Err(BpfError::ForeignLink { path, ifindex: info.ifindex }),
        }
    }

    fn maps(self, dir: Option<&InterfaceDir>) -> Result<Maps, BpfError> {
        if let Some(dir) = dir {
            dir.create()?;
        }
        let complete = |found, shape| adopt_or_create(found, shape, dir);
        Ok(Maps {
            jump: complete(self.jump, MapShape::JUMP)?,
            xsks: complete(self.xsks, MapShape::XSKS)?,
            port: complete(self.port, MapShape::PORT)?,
        })
    }
}

fn open_link(dir: &InterfaceDir) -> Result<Option<XdpLink>, BpfError> {
    let path = dir.pin(LINK);
    if !path.try_exists().map_err(|error| BpfError::path(&path, error))? {
        return Ok(None);
    }
    XdpLink::open(&path).map(Some).map_err(|error| BpfError::path(&path, error))
}

fn adopt_or_create(found: Option<Map>, shape: MapShape, dir: Option<&InterfaceDir>) -> Result<Map, BpfError> {
    if let Some(map) = found {
        return Ok(map);
    }
    let map = Map::create(shape)?;
    if let Some(dir) = dir {
        map.pin(&dir.pin(shape.name))?;
    }
    Ok(map)
}

fn refuse_occupied(spec: &AttachSpec) -> Result<(), BpfError> {
    match occupant(spec.ifindex)? {
        None => Ok(()),
        Some(occupant) => Err(BpfError::Occupied { ifname: spec.ifname.clone(), occupant }),
    }
}

fn attach_fresh(
    spec: &AttachSpec,
    ingress: BorrowedFd<'_>,
    dir: Option<&InterfaceDir>,
) -> Result<XdpLink, BpfError> {
    let link = XdpLink::attach(ingress, spec.ifindex, spec.mode).map_err(|source| BpfError::Attach {
        ifname: spec.ifname.clone(),
        mode: spec.mode,
        source,
    })?;
    if let Some(dir) = dir {
        let path = dir.pin(LINK);
        link.pin(&path).map_err(|error| BpfError::path(path, error))?;
    }
    Ok(link)
}

fn replace_ingress(link: &XdpLink, ifname: &str, ingress: BorrowedFd<'_>) -> Result<(), BpfError> {
    link.update(ingress).map_err(|source| BpfError::Replace { ifname: ifname.into(), source })
}

/// Removes an interface's pins unless told that attaching succeeded.
struct Undo<'a>(Option<&'a InterfaceDir>);

impl<'a> Undo<'a> {
    fn of(dir: Option<&'a InterfaceDir>) -> Self {
        Self(dir)
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(dir) = self.0 {
            // The error that is on its way to the caller matters more than one of cleaning up.
            let _ = dir.remove();
        }
    }
}
