// SPDX-License-Identifier: GPL-2.0

//! Any text for any control: refused, or taken and shown so that it reads the same.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, SocketAddr};
use sttcp::{
    config::{
        address, endpoint, number, KeyBytes, Refusal, Service, Services, MAX_KEY, MAX_SERVICES,
        MIN_KEY,
    },
    wire::Endpoint,
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    min: u32,
    max: u32,
    port: u16,
    text: &'a str,
}

fuzz_target!(|input: Input<'_>| {
    let Input {
        min,
        max,
        port,
        text,
    } = input;
    services(text, port);
    match endpoint(text) {
        Ok(addr) => {
            assert!(usable(addr.ip()) && addr.port() != 0);
            assert_eq!(endpoint(&addr.to_string()), Ok(addr));
        }
        Err(Refusal::ZeroPort | Refusal::UnusableAddress) => {
            let addr: SocketAddr = text.parse().unwrap();
            assert!(addr.port() == 0 || !usable(addr.ip()));
        }
        Err(Refusal::NotAnEndpoint) => assert!(text.parse::<SocketAddr>().is_err()),
        Err(other) => panic!("{other:?}"),
    }
    match address(text) {
        Ok(addr) => {
            let addr = addr.to_canonical();
            assert!(usable(addr));
            assert_eq!(text.parse(), Ok(addr));
        }
        Err(Refusal::UnusableAddress) => assert!(!usable(text.parse().unwrap())),
        Err(Refusal::NotAnAddress) => assert!(text.parse::<IpAddr>().is_err()),
        Err(other) => panic!("{other:?}"),
    }
    match number(text, min, max) {
        Ok(value) => {
            assert!((min..=max).contains(&value));
            assert_eq!(text.parse(), Ok(u128::from(value)));
        }
        Err(Refusal::NotANumber) => {
            assert!(text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_digit()));
        }
        Err(Refusal::OutOfRange) => {
            let value = text.parse::<u128>().unwrap_or(u128::MAX);
            assert!(value < min.into() || value > max.into());
        }
        Err(other) => panic!("{other:?}"),
    }
    key(text);
});

fn usable(addr: IpAddr) -> bool {
    !addr.is_unspecified()
        && !addr.is_multicast()
        && !addr.is_loopback()
        && !matches!(addr, IpAddr::V4(addr) if addr.is_broadcast())
        && !matches!(addr, IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some())
}

fn services(text: &str, port: u16) {
    let Ok(services) = text.parse::<Services>() else {
        return;
    };
    let list: Vec<&Service> = services.iter().collect();
    assert_eq!(services.to_string().parse(), Ok(services));
    assert_eq!(list.len(), text.split(',').count());
    assert!((1..=MAX_SERVICES).contains(&list.len()) && !services.is_empty());
    let mut addresses: Vec<_> = services.addresses().collect();
    for (at, service) in list.iter().enumerate() {
        assert!(usable(service.addr.to_canonical()) && service.port != Some(0));
        assert!(!list[..at].contains(service));
        assert!(services.has_address(&service.addr) && addresses.contains(&service.addr));
        let covered = |port| {
            services.covers(&Endpoint {
                addr: service.addr,
                port,
            })
        };
        assert!(covered(service.port.unwrap_or(port)));
        let named = |other: &&Service| {
            other.addr == service.addr && other.port.is_none_or(|named| named == port)
        };
        assert_eq!(covered(port), list.iter().any(named));
    }
    addresses.sort();
    let len = addresses.len();
    addresses.dedup();
    assert_eq!(addresses.len(), len);
}

fn key(text: &str) {
    match KeyBytes::parse(text) {
        Ok(key) => {
            let shown = key
                .as_bytes()
                .iter()
                .fold(String::new(), |shown, byte| format!("{shown}{byte:02x}"));
            assert_eq!(shown, text.to_ascii_lowercase());
            assert!((MIN_KEY..=MAX_KEY).contains(&key.as_bytes().len()));
        }
        Err(Refusal::KeyLength) => {
            assert!(!(MIN_KEY..=MAX_KEY).contains(&(text.len() / 2)));
        }
        Err(Refusal::NotHex) => {
            assert!(text.len() % 2 == 1 || text.bytes().any(|byte| !byte.is_ascii_hexdigit()));
        }
        Err(other) => panic!("{other:?}"),
    }
}
