//! Real tunnels between hosts in network namespaces: a room for each thing that they do. What needs the machine for itself, because
//! it measures, is a program of its own beside this one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod background;
mod bad_datagrams;
mod changes;
mod changing_network;
mod command;
mod connectivity;
mod container;
mod crash;
mod defense;
mod demo;
mod derived_mtu;
mod down;
mod indistinguishable;
mod key_memory;
mod kill_switch;
mod lab;
mod largest;
mod limits;
mod masking;
mod moving;
mod new_network;
mod offload;
mod outer_header;
mod path_mtu;
mod queues;
mod reload;
mod routing;
mod routing_loop;
mod save_config;
mod service_unit;
mod transfer;
mod two_uplinks;
mod uapi;
mod versions;
mod weak_keys;
mod wg;
mod wg_quick;
mod zones;
