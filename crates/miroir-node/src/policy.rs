//! Which addresses may be called that clients name.

use std::net::{IpAddr, Ipv4Addr};

/// Global addresses, and the networks that the operator allows besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpPolicy {
    is_open: bool,
    allowed: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: u128,
    bits: u32,
    is_v4: bool,
}

impl IpPolicy {
    /// The policy that a text such as `any` or `10.0.0.0/8, 127.0.0.1` describes.
    ///
    /// # Errors
    /// The part that is no network.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            if part == "any" {
                policy.is_open = true;
            } else {
                policy.allowed.push(network(part).ok_or(part)?);
            }
        }
        Ok(policy)
    }

    /// Whether this address may be called.
    #[must_use]
    pub fn allows(&self, ip: IpAddr) -> bool {
        // A v4 address in v6 clothes is the v4 address.
        let ip = ip.to_canonical();
        self.is_open || is_global(ip) || self.allowed.iter().any(|network| network.contains(ip))
    }
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        let (number, is_v4, width) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), true, 32),
            IpAddr::V6(ip) => (u128::from(ip), false, 128),
        };
        let shift = width - self.bits;
        let prefix = |number: u128| number.checked_shr(shift).unwrap_or(0);
        is_v4 == self.is_v4 && prefix(number) == prefix(self.address)
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let (address, width, is_v4) = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32, true),
        IpAddr::V6(ip) => (u128::from(ip), 128, false),
    };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some(Network {
        address,
        bits,
        is_v4,
    })
}

/// Whether an address can be that of a public server. The ranges are those of the registries of
/// special-purpose addresses (RFC 6890); addresses that carry others are judged by what they carry.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_global_v4(mapped);
            }
            // Only 2000::/3 is given out; of it, documentation, benchmarks, tunnels and the like.
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
                && a != 0x2002
                && !(a == 0x3fff && b < 0x1000)
        }
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_not_global() {
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2001:db8::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_global(local.parse().unwrap()), "{local}");
        }
        for public in [
            "1.1.1.1",
            "192.0.1.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_global(public.parse().unwrap()), "{public}");
        }
    }

    fn allows(policy: &str, ip: &str) -> bool {
        IpPolicy::parse(policy).unwrap().allows(ip.parse().unwrap())
    }

    #[test]
    fn global_addresses_are_always_allowed() {
        for ip in ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(allows("", ip), "{ip}");
        }
    }

    #[test]
    fn local_addresses_need_a_network_that_holds_them() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "fd00::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!allows("", ip), "{ip}");
            assert!(allows("any", ip), "{ip}");
        }
        assert!(allows("10.0.0.0/8, 127.0.0.1", "10.200.0.1"));
        assert!(allows("10.0.0.0/8,127.0.0.1", "127.0.0.1"));
        assert!(allows("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(!allows("10.0.0.0/8", "127.0.0.1"));
        assert!(allows("fd00::/8", "fd12::1") && !allows("fd00::/8", "fe80::1"));
        assert!(allows("0.0.0.0/0", "10.0.0.1") && !allows("0.0.0.0/0", "::1"));
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in ["a", "10.0.0.0/33", "10.0.0/8", "::/129"] {
            assert_eq!(IpPolicy::parse(text), Err(text.to_owned()));
        }
    }
}
