//! Whose questions to DNS servers the agent answers.

use super::CgroupRef;

/// `[dns] capture`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryCapture {
    /// Those of which programs; none for all whose connections are handled.
    pub cgroups: Option<Vec<CgroupRef>>,
    /// Resolvers of this host, which the agent may ask: their questions go where they are sent.
    pub bypass: Vec<CgroupRef>,
}

/// Units of resolvers that are left alone wherever they are, so that what they ask does not come back to them.
/// NetworkManager and libvirt run dnsmasq by themselves.
const RESOLVERS: [&str; 22] = [
    "AdGuardHome.service",
    "NetworkManager.service",
    "bind9.service",
    "connman.service",
    "coredns.service",
    "dnscrypt-proxy.service",
    "dnsdist.service",
    "dnsmasq.service",
    "dnsmasq@*.service",
    "knot-resolver.service",
    "kresd@*.service",
    "libvirtd.service",
    "named-chroot.service",
    "named.service",
    "pdns-recursor.service",
    "pdns-recursor@*.service",
    "pihole-FTL.service",
    "smartdns.service",
    "stubby.service",
    "systemd-resolved.service",
    "unbound.service",
    "virtnetworkd.service",
];

impl QueryCapture {
    /// Every cgroup whose questions are left alone.
    pub fn left_alone(&self) -> impl Iterator<Item = CgroupRef> {
        let known = RESOLVERS.into_iter().map(CgroupRef::from);
        known.chain(self.bypass.iter().cloned())
    }

    /// Whether it is left alone although nobody names it.
    pub fn knows(&self, cgroup: &CgroupRef) -> bool {
        let mut written = self.cgroups.iter().flatten().chain(&self.bypass);
        let known = RESOLVERS.into_iter().map(CgroupRef::from);
        !written.any(|it| it == cgroup) && known.into_iter().any(|it| it == *cgroup)
    }

    /// Every cgroup that is named.
    pub fn names(&self) -> impl Iterator<Item = CgroupRef> {
        let captured = self.cgroups.iter().flatten().cloned();
        captured.chain(self.left_alone())
    }
}
