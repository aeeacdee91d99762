//! The whole road, as a user would drive it: `octroid` on one end of a veth pair, real packets from the other.
//!
//! One test program, so that everything is linked once and two tests run at a time. A test asks [`lab::require`]
//! whether it may run, states every counter that moved, and ends with [`Served::finish`], which closes the books,
//! puts the daemon down and checks that nothing is left (F16).
//!
//! [`lab::require`]: octroi_tests::lab::require
//! [`Served::finish`]: octroi_tests::lab::Served::finish
#![deny(unsafe_code)]

mod b09_checksums;
mod capture;
mod capture_ends;
mod capture_file;
mod f01_daemon_killed;
mod f02_application_killed;
mod f03_leaks;
mod f05_builds;
mod f07_links;
mod f09_no_reader;
mod f10_limits;
mod f12_random_writes;
mod f13_clients;
mod f13_idle;
mod f14_privileges;
mod f15_foreign;
mod f16_down;
mod f17_pauses;
mod f18_churn;
mod f20_slow_readers;
mod hostile_rings;
mod hostile_sessions;
mod mt03_matrix;
mod mt03_reservation;
mod mt03_unbound;
mod mt04_hostile;
mod mt05_ethernet;
mod mt05_routes;
mod mt06_coexistence;
mod mt06_legacy;
mod mt07_interfaces;
mod mt07_targets;
mod mt08_weights;
mod mt09;
mod mt10_c_programs;
mod mt10_examples;
mod road;
mod road_layouts;
mod road_shows;
mod road_targets;
mod road_upgrade;
mod rt10_beside;
mod rt10_configured;
mod rt10_engines;
mod rt10_filters;
mod rt10_lengths;
mod rt10_start;
mod stacks;

use octroi_tests::lab::Need;

/// What a daemon on a veth pair needs.
const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];
