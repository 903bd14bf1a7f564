// SPDX-License-Identifier: GPL-2.0

//! What an operator may write into a control, and why it is refused.

use super::paths::MAX_PATHS;
use super::wire::Endpoint;
use core::ffi::CStr;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// The most services a node can protect.
pub const MAX_SERVICES: usize = 16;

/// The shortest key, in bytes: the size of the tag it makes (RFC 2104, section 3).
pub const MIN_KEY: usize = 32;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 256;

/// The longest command, in bytes.
pub const MAX_COMMAND: usize = 255;

/// The most words of a command, its path among them.
pub const MAX_WORDS: usize = 16;

/// Why a value is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not an address and port in the form `10.0.0.1:80` or `[fd00::1]:80`.
    NotAnEndpoint,
    /// Not an address.
    NotAnAddress,
    /// The unspecified, a multicast, a loopback or an IPv4-mapped address.
    UnusableAddress,
    /// Port 0.
    ZeroPort,
    /// More than [`MAX_SERVICES`] services.
    TooManyServices,
    /// No service at all.
    NoService,
    /// The same service twice.
    RepeatedService,
    /// Not an even number of hexadecimal digits.
    NotHex,
    /// Fewer than [`MIN_KEY`] or more than [`MAX_KEY`] bytes.
    KeyLength,
    /// Not a decimal number.
    NotANumber,
    /// A number outside the control's range.
    OutOfRange,
    /// Not one of the control's words.
    UnknownWord,
    /// More than two ends of the peer channel.
    TooManyEnds,
    /// The same end twice.
    RepeatedEnd,
    /// Not an absolute path with arguments.
    NotACommand,
    /// A command of more than [`MAX_COMMAND`] bytes or [`MAX_WORDS`] words.
    LongCommand,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotAnEndpoint => "not an address and port such as 10.0.0.1:80 or [fd00::1]:80",
            Refusal::NotAnAddress => "not an address such as 10.0.0.254 or fd00::254",
            Refusal::UnusableAddress => {
                "the address must be a unicast address of a network interface"
            }
            Refusal::ZeroPort => "port 0 cannot be used",
            Refusal::TooManyServices => "more than 16 services",
            Refusal::NoService => "no service named",
            Refusal::RepeatedService => "a service is named twice",
            Refusal::NotHex => "not an even number of hexadecimal digits",
            Refusal::KeyLength => "the key must be 32 to 256 bytes long",
            Refusal::NotANumber => "not a decimal number",
            Refusal::OutOfRange => "the number is outside the control's range",
            Refusal::UnknownWord => "not a word that this control knows",
            Refusal::TooManyEnds => "more than two addresses",
            Refusal::RepeatedEnd => "an address and port are named twice",
            Refusal::NotACommand => "not an absolute path, and arguments with blanks between them",
            Refusal::LongCommand => "more than 255 bytes or 16 words",
        })
    }
}

/// An address, and one port of it or all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The service address; IPv4 as IPv4-mapped.
    pub addr: Ipv6Addr,
    /// The port in host byte order; `None` is every port.
    pub port: Option<u16>,
}

impl Service {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let (addr, port) = text.rsplit_once(':').ok_or(Refusal::NotAnEndpoint)?;
        let addr = match addr.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or(Refusal::NotAnEndpoint)?;
                IpAddr::V6(inner.parse().map_err(|_| Refusal::NotAnEndpoint)?)
            }
            None => IpAddr::V4(addr.parse().map_err(|_| Refusal::NotAnEndpoint)?),
        };
        let port = match port {
            "*" => None,
            digits => match number(digits, 0, 65535) {
                Ok(0) => return Err(Refusal::ZeroPort),
                Ok(port) => Some(port as u16),
                Err(_) => return Err(Refusal::NotAnEndpoint),
            },
        };
        Ok(Self {
            addr: usable(addr)?,
            port,
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr.to_canonical() {
            IpAddr::V4(addr) => write!(f, "{addr}:")?,
            IpAddr::V6(addr) => write!(f, "[{addr}]:")?,
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

/// The protected services of a node.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Services {
    entries: [Option<Service>; MAX_SERVICES],
}

impl Services {
    /// Whether `endpoint` belongs to a protected service.
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        self.iter()
            .any(|s| s.addr == endpoint.addr && s.port.is_none_or(|port| port == endpoint.port))
    }

    /// Whether `addr` is a service address, whatever the port.
    pub fn has_address(&self, addr: &Ipv6Addr) -> bool {
        self.iter().any(|s| s.addr == *addr)
    }

    /// The services in the order they were named.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        // The first that is free ends them.
        self.entries.iter().map_while(Option::as_ref)
    }

    /// Each service address once.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.iter().enumerate().filter_map(|(at, s)| {
            (!self.iter().take(at).any(|earlier| earlier.addr == s.addr)).then_some(s.addr)
        })
    }

    /// Whether no service is named.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromStr for Services {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut services = Self::default();
        if text.is_empty() {
            return Err(Refusal::NoService);
        }
        for part in text.split(',') {
            let service = Service::parse(part.trim())?;
            if services.iter().any(|s| *s == service) {
                return Err(Refusal::RepeatedService);
            }
            let free = services.entries.iter_mut().find(|entry| entry.is_none());
            *free.ok_or(Refusal::TooManyServices)? = Some(service);
        }
        Ok(services)
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, service) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{service}")?;
        }
        Ok(())
    }
}

fn usable(addr: IpAddr) -> Result<Ipv6Addr, Refusal> {
    let unusable = match addr {
        IpAddr::V4(a) => {
            a.is_unspecified() || a.is_multicast() || a.is_broadcast() || a.is_loopback()
        }
        IpAddr::V6(a) => {
            a.is_unspecified()
                || a.is_multicast()
                || a.is_loopback()
                || a.to_ipv4_mapped().is_some()
        }
    };
    if unusable {
        return Err(Refusal::UnusableAddress);
    }
    Ok(match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    })
}

/// Reads one end of a path of the peer channel.
pub fn endpoint(text: &str) -> Result<SocketAddr, Refusal> {
    let addr: SocketAddr = text.parse().map_err(|_| Refusal::NotAnEndpoint)?;
    usable(addr.ip())?;
    if addr.port() == 0 {
        return Err(Refusal::ZeroPort);
    }
    Ok(addr)
}

/// Reads an address; IPv4 as IPv4-mapped.
pub fn address(text: &str) -> Result<Ipv6Addr, Refusal> {
    usable(text.parse().map_err(|_| Refusal::NotAnAddress)?)
}

/// One host's ends of the paths to the other, one or two.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ends([Option<SocketAddr>; MAX_PATHS]);

impl Ends {
    /// The ends in the order they were named.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().copied().flatten()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// The end of this path.
    pub fn get(&self, path: usize) -> Option<SocketAddr> {
        self.0.get(path).copied().flatten()
    }

    /// The path that has this end.
    pub fn path_of(&self, end: SocketAddr) -> Option<usize> {
        self.iter().position(|it| it == end)
    }
}

impl FromStr for Ends {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut ends = Self([None; MAX_PATHS]);
        for (at, part) in text.split(',').enumerate() {
            let end = endpoint(part.trim())?;
            if ends.path_of(end).is_some() {
                return Err(Refusal::RepeatedEnd);
            }
            *ends.0.get_mut(at).ok_or(Refusal::TooManyEnds)? = Some(end);
        }
        Ok(ends)
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, end) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{end}")?;
        }
        Ok(())
    }
}

/// Reads a decimal number from `min` to `max`.
pub fn number(text: &str, min: u32, max: u32) -> Result<u32, Refusal> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::NotANumber);
    }
    match text.parse() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(Refusal::OutOfRange),
    }
}

/// A key as it was written.
#[derive(Clone)]
pub struct KeyBytes {
    bytes: [u8; MAX_KEY],
    len: usize,
}

impl KeyBytes {
    /// Reads `text`, hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() % 2 != 0 {
            return Err(Refusal::NotHex);
        }
        if !(MIN_KEY..=MAX_KEY).contains(&(text.len() / 2)) {
            return Err(if text.bytes().all(|b| b.is_ascii_hexdigit()) {
                Refusal::KeyLength
            } else {
                Refusal::NotHex
            });
        }
        let mut key = Self {
            bytes: [0; MAX_KEY],
            len: text.len() / 2,
        };
        for (byte, pair) in key.bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let mut value = 0;
            for digit in pair {
                let digit = (*digit as char).to_digit(16).ok_or(Refusal::NotHex)?;
                value = (value << 4) | digit;
            }
            *byte = value as u8;
        }
        Ok(key)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// A program and its arguments, with blanks between them; no shell reads it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Each word has a zero behind it.
    bytes: [u8; MAX_COMMAND + 1],
    len: usize,
}

impl Command {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let odd = |byte: u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
        if !text.starts_with('/') || text.bytes().any(odd) {
            return Err(Refusal::NotACommand);
        }
        let mut command = Self {
            bytes: [0; MAX_COMMAND + 1],
            len: 0,
        };
        for (at, word) in text.split_ascii_whitespace().enumerate() {
            let rest = command.bytes.get_mut(command.len..).unwrap_or_default();
            let room = rest.get_mut(..word.len()).filter(|_| at < MAX_WORDS);
            room.ok_or(Refusal::LongCommand)?
                .copy_from_slice(word.as_bytes());
            command.len = command.len.saturating_add(word.len()).saturating_add(1);
        }
        if command.len > command.bytes.len() {
            return Err(Refusal::LongCommand);
        }
        Ok(command)
    }

    /// The path, and the arguments.
    pub fn words(&self) -> impl Iterator<Item = &CStr> {
        let bytes = self.bytes.get(..self.len).unwrap_or(&[]);
        bytes
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|word| CStr::from_bytes_with_nul(word).ok())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(word.to_str().unwrap_or("?"))?;
        }
        Ok(())
    }
}
