//! The checks of each configured interface, in the network namespace this process is in.
use std::collections::BTreeMap;

use client::control::answer::DoctorRow;
use xsk::bpf::occupant;

use super::{fail, ok, warn};
use crate::{
    config::{
        file::Queues,
        settings::{Interface, Settings},
    },
    netlink::{
        ethtool::{Ethtool, Feature, RX_VLAN_FEATURES},
        route::{Link, Route},
    },
};

pub(super) fn examine(settings: &Settings, ours: &BTreeMap<u32, u32>) -> Vec<DoctorRow> {
    let links = Route::open().and_then(|mut route| route.links());
    let mut rows = Vec::new();
    for interface in &settings.interfaces {
        let name = interface.name();
        let link = match &links {
            Ok(links) => links.iter().find(|link| link.name == name),
            Err(_) => None,
        };
        match link {
            None => rows.push(fail(
                "iface.exists",
                Some(name),
                "there is no such interface in this network namespace",
                "`ip link` shows what there is; --netns NAME looks elsewhere",
            )),
            Some(link) => {
                rows.push(ok("iface.exists", Some(name), format!("index {}", link.index)));
                rows.extend(of_link(interface, link, ours));
            }
        }
    }
    rows
}

fn of_link(interface: &Interface, link: &Link, ours: &BTreeMap<u32, u32>) -> Vec<DoctorRow> {
    let mut rows = vec![up(link), hook(link, ours), mtu(interface, link)];
    match Ethtool::open() {
        Ok(mut ethtool) => {
            rows.push(queues(interface, link, &mut ethtool));
            rows.extend(offloads(link, &mut ethtool));
        }
        Err(error) => rows.push(fail(
            "queues.active",
            Some(&link.name),
            format!("cannot be asked: {error}"),
            "a kernel with CONFIG_ETHTOOL_NETLINK",
        )),
    }
    rows
}

fn up(link: &Link) -> DoctorRow {
    const ID: &str = "iface.up";
    if link.up {
        return ok(ID, Some(&link.name), "up");
    }
    warn(ID, Some(&link.name), "down: nothing is received", format!("`ip link set {} up`", link.name))
}

fn hook(link: &Link, ours: &BTreeMap<u32, u32>) -> DoctorRow {
    const ID: &str = "hook.occupied";
    let name = Some(link.name.as_str());
    match occupant(link.index) {
        Ok(None) => ok(ID, name, "the XDP hook is free"),
        Ok(Some(program)) if ours.get(&link.index) == Some(&program.id) => {
            ok(ID, name, format!("program {} is ours, {} mode", program.id, program.mode))
        }
        Ok(Some(program)) if program.name == abi::pins::PROG_INGRESS => warn(
            ID,
            name,
            format!(
                "program {} ({}) is Octroi's: another instance, or a crashed one",
                program.id, program.name
            ),
            "`octroi status` of that instance, or `octroi down --crashed`",
        ),
        Ok(Some(program)) => fail(
            ID,
            name,
            format!("program {} ({:?}, {} mode) is attached", program.id, program.name, program.mode),
            format!("whoever attached it should detach it; by force: `ip link set {} xdp off`", link.name),
        ),
        Err(error) => warn(ID, name, format!("cannot be asked: {error}"), "run as root"),
    }
}

fn mtu(interface: &Interface, link: &Link) -> DoctorRow {
    const ID: &str = "mtu.fits";
    match xsk::socket::mtu::check(&interface.queue, link.mtu) {
        Ok(()) => {
            ok(ID, Some(&link.name), format!("MTU {} fits chunks of {}", link.mtu, interface.queue.chunk))
        }
        Err(error) => {
            let fix = format!("`ip link set {} mtu {}`, or umem.chunk = 4096", link.name, error.largest);
            fail(ID, Some(&link.name), error.to_string(), fix)
        }
    }
}

fn queues(interface: &Interface, link: &Link, ethtool: &mut Ethtool) -> DoctorRow {
    const ID: &str = "queues.active";
    let name = Some(link.name.as_str());
    match (ethtool.rx_queues(link.index), interface.queues) {
        (Ok(active), Queues::Exactly(wanted)) if active != wanted => fail(
            ID,
            name,
            format!("{active} receive queues are active, the configuration says {wanted}"),
            format!("`ethtool -L {} rx {wanted} tx {wanted}`, or combined {wanted}", link.name),
        ),
        (Ok(active), _) => ok(ID, name, format!("{active} active")),
        (Err(error), _) => fail(ID, name, format!("cannot be asked: {error}"), "run as root"),
    }
}

fn offloads(link: &Link, ethtool: &mut Ethtool) -> Vec<DoctorRow> {
    const ID: &str = "offload.rxvlan";
    let name = Some(link.name.as_str());
    let features = match ethtool.features(link.index) {
        Ok(features) => features,
        Err(error) => return vec![warn(ID, name, format!("cannot be asked: {error}"), "run as root")],
    };
    let states = RX_VLAN_FEATURES.map(|feature| features.state(feature));
    let vlan = if states.contains(&Feature::FixedOn) {
        let detail = "fixed on: XDP would see tagged frames as untagged";
        fail(ID, name, detail, "another driver or card; octroid refuses this one")
    } else if states.contains(&Feature::On) {
        warn(
            ID,
            name,
            "on: octroid switches it off while it serves",
            format!("`ethtool -K {} rxvlan off`", link.name),
        )
    } else {
        ok(ID, name, "off")
    };
    let lro = match features.state("rx-lro") {
        Feature::Off => ok("offload.lro", name, "off"),
        Feature::On | Feature::FixedOn => warn(
            "offload.lro",
            name,
            "on: frames are merged before XDP, or the kernel switches it off when attaching",
            format!("`ethtool -K {} lro off`", link.name),
        ),
    };
    vec![vlan, lro]
}
