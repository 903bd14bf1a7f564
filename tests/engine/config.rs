// SPDX-License-Identifier: GPL-2.0

//! What an operator may write, and why the rest is refused.

mod common;

use proptest::{collection::vec, prelude::*};
use std::net::{Ipv4Addr, Ipv6Addr};
use sttcp::config::{
    address, endpoint, number, Command, Ends, KeyBytes, Refusal, Services, MAX_COMMAND, MAX_KEY,
    MAX_SERVICES, MAX_WORDS, MIN_KEY,
};

fn services(text: &str) -> Result<Services, Refusal> {
    text.parse()
}

fn key(text: &str) -> Result<Vec<u8>, Refusal> {
    KeyBytes::parse(text).map(|key| key.as_bytes().to_vec())
}

#[test]
fn service_is_an_address_and_a_port_or_all_ports() {
    for text in [
        "10.0.0.1:80",
        "10.0.0.1:65535",
        "10.0.0.1:*",
        "[fd00::1]:443",
        "[fd00::1]:*",
        "10.0.0.1:80,10.0.0.1:81,[fd00::1]:80",
        "10.0.0.1:*,10.0.0.1:80",
    ] {
        assert_eq!(services(text).unwrap().to_string(), text);
    }
}

#[test]
fn blanks_around_a_service_do_not_count() {
    assert_eq!(
        services("10.0.0.1:80, 10.0.0.2:80 ").unwrap(),
        services("10.0.0.1:80,10.0.0.2:80").unwrap()
    );
}

#[test]
fn service_refused() {
    for (text, why) in [
        ("", Refusal::NoService),
        (" ", Refusal::NotAnEndpoint),
        ("10.0.0.1", Refusal::NotAnEndpoint),
        (":80", Refusal::NotAnEndpoint),
        ("10.0.0.1:", Refusal::NotAnEndpoint),
        ("10.0.0.1:http", Refusal::NotAnEndpoint),
        ("10.0.0.1:+80", Refusal::NotAnEndpoint),
        ("10.0.0.1:-1", Refusal::NotAnEndpoint),
        ("10.0.0.1:65536", Refusal::NotAnEndpoint),
        ("10.0.0.1 :80", Refusal::NotAnEndpoint),
        ("10.0.0.256:80", Refusal::NotAnEndpoint),
        ("10.0.0:80", Refusal::NotAnEndpoint),
        ("example.org:80", Refusal::NotAnEndpoint),
        ("fd00::1:80", Refusal::NotAnEndpoint),
        ("[fd00::1:80", Refusal::NotAnEndpoint),
        ("fd00::1]:80", Refusal::NotAnEndpoint),
        ("[fd00::1]80", Refusal::NotAnEndpoint),
        ("[10.0.0.1]:80", Refusal::NotAnEndpoint),
        ("[fe80::1%2]:80", Refusal::NotAnEndpoint),
        ("10.0.0.1:80,", Refusal::NotAnEndpoint),
        (",10.0.0.1:80", Refusal::NotAnEndpoint),
        ("10.0.0.1:80;10.0.0.2:80", Refusal::NotAnEndpoint),
        ("10.0.0.1:0", Refusal::ZeroPort),
        ("[fd00::1]:00", Refusal::ZeroPort),
        ("0.0.0.0:80", Refusal::UnusableAddress),
        ("127.0.0.1:80", Refusal::UnusableAddress),
        ("224.0.0.1:80", Refusal::UnusableAddress),
        ("255.255.255.255:80", Refusal::UnusableAddress),
        ("[::]:80", Refusal::UnusableAddress),
        ("[::1]:80", Refusal::UnusableAddress),
        ("[ff02::1]:80", Refusal::UnusableAddress),
        ("[::ffff:10.0.0.1]:80", Refusal::UnusableAddress),
        ("10.0.0.1:80,10.0.0.1:80", Refusal::RepeatedService),
        ("[fd00::1]:*,[fd00:0::1]:*", Refusal::RepeatedService),
    ] {
        assert_eq!(services(text), Err(why), "{text:?}");
    }
}

#[test]
fn sixteen_services_and_no_more() {
    let text = |count: usize| {
        let all: Vec<_> = (1..=count).map(|port| format!("10.0.0.1:{port}")).collect();
        all.join(",")
    };
    assert_eq!(
        services(&text(MAX_SERVICES)).unwrap().iter().count(),
        MAX_SERVICES
    );
    assert_eq!(
        services(&text(MAX_SERVICES + 1)),
        Err(Refusal::TooManyServices)
    );
}

#[test]
fn covers_its_ports_and_addresses_only() {
    let services = services("10.0.0.1:80,[fd00::1]:*").unwrap();
    for (addr, covered) in [
        ("10.0.0.1:80", true),
        ("10.0.0.1:81", false),
        ("10.0.0.2:80", false),
        ("[fd00::1]:1", true),
        ("[fd00::1]:65535", true),
        ("[fd00::2]:80", false),
    ] {
        assert_eq!(services.covers(&common::end(addr)), covered, "{addr}");
    }
    assert!(services.has_address(&common::end("10.0.0.1:9").addr));
    assert!(!services.has_address(&common::end("10.0.0.2:80").addr));
}

#[test]
fn each_address_once() {
    let services = services("10.0.0.1:80,[fd00::1]:80,10.0.0.1:81,[fd00::1]:*").unwrap();
    assert_eq!(
        services.addresses().collect::<Vec<_>>(),
        [
            common::end("10.0.0.1:1").addr,
            common::end("[fd00::1]:1").addr
        ]
    );
}

#[test]
fn default_protects_nothing() {
    let none = Services::default();
    assert!(none.is_empty());
    assert!(!none.covers(&common::end("10.0.0.1:80")));
    assert_eq!(none.to_string(), "");
    assert!(!services("10.0.0.1:80").unwrap().is_empty());
}

#[test]
fn endpoint_of_the_peer_channel() {
    for text in ["10.0.0.1:7000", "[fd00::1]:7000"] {
        assert_eq!(endpoint(text).unwrap().to_string(), text);
    }
    for (text, why) in [
        ("", Refusal::NotAnEndpoint),
        ("10.0.0.1", Refusal::NotAnEndpoint),
        ("10.0.0.1:*", Refusal::NotAnEndpoint),
        ("10.0.0.1:65536", Refusal::NotAnEndpoint),
        (" 10.0.0.1:7000", Refusal::NotAnEndpoint),
        ("peer:7000", Refusal::NotAnEndpoint),
        ("10.0.0.1:0", Refusal::ZeroPort),
        ("0.0.0.0:7000", Refusal::UnusableAddress),
        ("127.0.0.1:7000", Refusal::UnusableAddress),
        ("239.1.1.1:7000", Refusal::UnusableAddress),
        ("255.255.255.255:7000", Refusal::UnusableAddress),
        ("[::]:7000", Refusal::UnusableAddress),
        ("[::1]:7000", Refusal::UnusableAddress),
        ("[ff02::1]:7000", Refusal::UnusableAddress),
        ("[::ffff:10.0.0.1]:7000", Refusal::UnusableAddress),
    ] {
        assert_eq!(endpoint(text), Err(why), "{text:?}");
    }
}

#[test]
fn number_within_its_range() {
    assert_eq!(number("1", 1, 10), Ok(1));
    assert_eq!(number("0010", 1, 10), Ok(10));
    assert_eq!(number("4294967295", 0, u32::MAX), Ok(u32::MAX));
    for (text, why) in [
        ("", Refusal::NotANumber),
        ("+1", Refusal::NotANumber),
        ("-1", Refusal::NotANumber),
        (" 1", Refusal::NotANumber),
        ("1\n", Refusal::NotANumber),
        ("0x1", Refusal::NotANumber),
        ("1.5", Refusal::NotANumber),
        ("\u{0663}", Refusal::NotANumber),
        ("0", Refusal::OutOfRange),
        ("11", Refusal::OutOfRange),
        ("4294967296", Refusal::OutOfRange),
        ("99999999999999999999999999", Refusal::OutOfRange),
    ] {
        assert_eq!(number(text, 1, 10), Err(why), "{text:?}");
    }
}

#[test]
fn key_length_has_limits() {
    assert_eq!(key(&"0F".repeat(32)), Ok(vec![0x0f; 32]));
    assert_eq!(key(&"aB".repeat(33)), Ok(vec![0xab; 33]));
    assert_eq!(key(&"ff".repeat(MAX_KEY)), Ok(vec![0xff; MAX_KEY]));
    for (text, why) in [
        (String::new(), Refusal::KeyLength),
        ("00".repeat(MIN_KEY - 1), Refusal::KeyLength),
        ("00".repeat(MAX_KEY + 1), Refusal::KeyLength),
        ("0".repeat(63), Refusal::NotHex),
        ("0g".repeat(32), Refusal::NotHex),
        ("+0".repeat(32), Refusal::NotHex),
        (" 0".repeat(32), Refusal::NotHex),
        ("0x".repeat(32), Refusal::NotHex),
        ("not a key!".to_string(), Refusal::NotHex),
        ("\u{e9}".repeat(32), Refusal::NotHex),
        ("\u{e9}".repeat(2), Refusal::NotHex),
    ] {
        assert_eq!(key(&text), Err(why), "{text:?}");
    }
}

#[test]
fn each_refusal_has_its_own_words() {
    let all = [
        Refusal::NotAnEndpoint,
        Refusal::UnusableAddress,
        Refusal::ZeroPort,
        Refusal::TooManyServices,
        Refusal::NoService,
        Refusal::RepeatedService,
        Refusal::NotHex,
        Refusal::KeyLength,
        Refusal::NotANumber,
        Refusal::OutOfRange,
        Refusal::UnknownWord,
    ];
    let mut words: Vec<_> = all.iter().map(ToString::to_string).collect();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), all.len());
    for (why, limit) in [
        (Refusal::TooManyServices, MAX_SERVICES),
        (Refusal::KeyLength, MIN_KEY),
        (Refusal::KeyLength, MAX_KEY),
    ] {
        assert!(why.to_string().contains(&limit.to_string()));
    }
}

fn service() -> impl Strategy<Value = String> {
    let addr = prop_oneof![
        any::<u32>().prop_map(|a| Ipv4Addr::from(a).to_string()),
        any::<u128>().prop_map(|a| format!("[{}]", Ipv6Addr::from(a))),
    ];
    let port = prop_oneof![
        Just("*".to_string()),
        any::<u16>().prop_map(|p| p.to_string())
    ];
    (addr, port).prop_map(|(addr, port)| format!("{addr}:{port}"))
}

proptest! {
    #![proptest_config(common::config(512))]

    #[test]
    fn what_is_shown_reads_the_same(list in vec(service(), 1..20)) {
        if let Ok(read) = services(&list.join(",")) {
            prop_assert_eq!(services(&read.to_string()), Ok(read));
            for service in read.iter() {
                prop_assert!(read.has_address(&service.addr));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", brackets in "[\\[\\]0-9a-f:.,*% ]{0,80}") {
        for text in [text, brackets] {
            let _ = services(&text);
            let _ = endpoint(&text);
            let _ = key(&text);
            let _ = number(&text, 0, u32::MAX);
        }
    }

    #[test]
    fn key_reads_back(bytes in vec(any::<u8>(), MIN_KEY..=MAX_KEY)) {
        let text: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let text = text.concat();
        prop_assert_eq!(key(&text), Ok(bytes.clone()));
        prop_assert_eq!(key(&text.to_uppercase()), Ok(bytes));
    }

    #[test]
    fn number_is_the_number(value: u32, min: u32, max: u32) {
        let expected = if (min..=max).contains(&value) { Ok(value) } else { Err(Refusal::OutOfRange) };
        prop_assert_eq!(number(&value.to_string(), min, max), expected);
    }
}

#[test]
fn command_is_a_path_and_arguments() {
    let command = Command::parse("/usr/sbin/fence_ipmilan  --ip 10.0.0.9\t-o off").unwrap();
    let words: Vec<_> = command.words().collect();
    assert_eq!(
        words,
        [
            c"/usr/sbin/fence_ipmilan",
            c"--ip",
            c"10.0.0.9",
            c"-o",
            c"off"
        ]
    );
    assert_eq!(
        command.to_string(),
        "/usr/sbin/fence_ipmilan --ip 10.0.0.9 -o off"
    );
    for text in [
        "",
        "fence",
        " /bin/true",
        "./fence",
        "/bin/\u{1}",
        "/bin/x\0y",
    ] {
        assert_eq!(Command::parse(text), Err(Refusal::NotACommand), "{text:?}");
    }
}

#[test]
fn longest_command() {
    let longest = format!("/{}", "x".repeat(MAX_COMMAND - 1));
    assert_eq!(Command::parse(&longest).unwrap().to_string(), longest);
    let longer = format!("{longest}x");
    assert_eq!(Command::parse(&longer), Err(Refusal::LongCommand));
    let most = format!("/x{}", " y".repeat(MAX_WORDS - 1));
    assert_eq!(Command::parse(&most).unwrap().to_string(), most);
    let more = format!("{most} y");
    assert_eq!(Command::parse(&more), Err(Refusal::LongCommand));
}

#[test]
fn ends_of_one_path_or_two() {
    let one: Ends = "10.0.0.1:7077".parse().unwrap();
    assert_eq!((one.count(), one.get(1)), (1, None));
    let two: Ends = "10.0.0.1:7077, [fd00::1]:7078".parse().unwrap();
    assert_eq!(two.to_string(), "10.0.0.1:7077,[fd00::1]:7078");
    assert_eq!(two.count(), 2);
    let second = two.get(1).unwrap();
    assert_eq!(two.path_of(second), Some(1));
    assert_eq!(one.path_of(second), None);
    for (text, why) in [
        ("", Refusal::NotAnEndpoint),
        ("10.0.0.1:7077,", Refusal::NotAnEndpoint),
        ("10.0.0.1:7077,10.0.0.1:7077", Refusal::RepeatedEnd),
        ("10.0.0.1:1,10.0.0.1:2,10.0.0.1:3", Refusal::TooManyEnds),
        ("10.0.0.1:7077,224.0.0.1:7077", Refusal::UnusableAddress),
    ] {
        assert_eq!(text.parse::<Ends>(), Err(why), "{text:?}");
    }
}

#[test]
fn addresses() {
    let mapped = |text: &str| address(text).map(|addr| addr.to_canonical().to_string());
    for text in ["10.0.0.254", "fd00::254"] {
        assert_eq!(mapped(text).as_deref(), Ok(text));
    }
    for text in [
        "",
        "10.0.0",
        "10.0.0.254:7",
        "[fd00::254]",
        " 10.0.0.1",
        "gateway",
    ] {
        assert_eq!(mapped(text), Err(Refusal::NotAnAddress), "{text}");
    }
    for text in [
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "224.0.0.1",
        "::1",
        "ff02::1",
        "::ffff:10.0.0.1",
    ] {
        assert_eq!(mapped(text), Err(Refusal::UnusableAddress), "{text}");
    }
}
