//! The life of a connection: the stages that it enters, and what is accounted at each.
//!
//! connect() has put it into the table, or into the socket's own storage. Its first segment is about to
//! leave: from then on the kernel tells of changes of the state of TCP. It stands, or fails. TCP is done
//! with it, and no program holds its socket any more; these two come in either order, and the second one
//! gives the slot back.

use crate::atomic::{exchange, replace};
use crate::blank::blurred;
use crate::moments::{self, Happened};
use crate::open;
use crate::original;
use crate::slots::{self, Held};
use crate::socket::Tcp;
use crate::traffic::{self, Done};
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_CLOSING,
    BPF_TCP_ESTABLISHED, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK, BPF_TCP_SYN_RECV, BPF_TCP_SYN_SENT,
    bpf_sock,
};
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_ns};
use aya_ebpf::programs::{SockContext, SockOpsContext};
use core::ptr::{addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{
    Connection, Ending, Life, MomentKind, Original, Protocol, Stage, TrafficKey,
};

/// A socket at one of its stages.
#[derive(Clone, Copy)]
pub struct Socket {
    sk: *mut bpf_sock,
    tcp: Option<Tcp>,
    /// 0 if it has none, and so no slot.
    cookie: u64,
    /// Whether something may be kept with the socket itself.
    has_storage: bool,
}

impl Socket {
    /// Most sockets are none of ours, and two words of theirs say so.
    #[inline(always)]
    pub fn of(ctx: &SockOpsContext, sk: *mut bpf_sock) -> Self {
        let tcp = Tcp::of(sk);
        match tcp.and_then(Tcp::past) {
            Some(traces) => Self {
                sk,
                tcp,
                cookie: traces.cookie,
                has_storage: traces.has_storage,
            },
            None => Self {
                sk,
                tcp,
                // SAFETY: the context of a program that the helper takes.
                cookie: unsafe { bpf_get_socket_cookie(ctx.ops.cast()) },
                has_storage: true,
            },
        }
    }

    /// What the socket remembers by itself.
    #[inline(always)]
    pub fn original(self) -> Option<&'static mut Original> {
        if self.has_storage {
            original::of(self.sk)
        } else {
            None
        }
    }

    /// How long a header left before what the program sent.
    #[inline(always)]
    fn header(self) -> u64 {
        match self.original() {
            Some(original) if original.mark == 0 => original.header as u64,
            _ => 0,
        }
    }
}

/// Where the life of a connection is kept.
enum Kept {
    Slot(Held),
    Socket(&'static mut Original),
}

impl Kept {
    #[inline(always)]
    fn of(socket: Socket) -> Option<Self> {
        if let Some(slot) = slots::held(socket.cookie) {
            return Some(Self::Slot(slot));
        }
        socket.original().map(Self::Socket)
    }

    #[inline(always)]
    fn stage(&self) -> Stage {
        match self {
            Self::Slot(slot) => slot.connection().map_or(Stage::default(), |row| row.stage),
            Self::Socket(original) => original.stage,
        }
    }

    /// Gives the stages that there were.
    #[inline(always)]
    fn enter<const TABLE: bool>(&mut self, stage: Stage) -> Stage {
        match self {
            Self::Slot(slot) if TABLE => slot.enter(stage),
            Self::Slot(_) => Stage::default(),
            Self::Socket(original) if TABLE => original::enter(original, stage),
            Self::Socket(original) => {
                let before = original.stage;
                original.stage = before.with(stage);
                before
            }
        }
    }

    #[inline(always)]
    fn life(&mut self) -> Option<*mut Life> {
        match self {
            Self::Slot(slot) => slot.life(),
            Self::Socket(original) => Some(addr_of_mut!(original.life)),
        }
    }

    #[inline(always)]
    fn key(&self) -> Option<TrafficKey> {
        match self {
            Self::Slot(slot) => slot.connection().map(key),
            Self::Socket(original) => Some(TrafficKey {
                cgroup: original.cgroup,
                service: original.service,
                endpoint: original.endpoint,
                waypoint: original.waypoint,
                folded: 0,
            }),
        }
    }
}

#[inline(always)]
fn key(connection: &Connection) -> TrafficKey {
    TrafficKey {
        cgroup: connection.cgroup,
        service: connection.service,
        endpoint: connection.endpoint,
        waypoint: connection.waypoint,
        folded: 0,
    }
}

/// The first segment of a connection is about to leave.
#[inline(always)]
pub fn begins<const TABLE: bool>(ctx: &SockOpsContext, socket: Socket) {
    let Some(mut kept) = Kept::of(socket) else {
        return;
    };
    if !kept.stage().has(Stage::ACCOUNTED) {
        return;
    }
    let Some(life) = kept.life() else { return };
    let now = now();
    // SAFETY: of this socket, whose lock the hook holds.
    unsafe {
        write_volatile(
            life,
            Life {
                began: now,
                ..Life::default()
            },
        )
    };
    if ctx
        .set_cb_flags(ctx.cb_flags() as i32 | BPF_SOCK_OPS_STATE_CB_FLAG as i32)
        .is_ok()
    {
        kept.enter::<TABLE>(Stage::FOLLOWED);
    }
}

/// Whether TCP enters a state that ends a stage: the connection stands, or is over.
#[inline(always)]
pub fn is_stage(ctx: &SockOpsContext) -> bool {
    let (old, new) = states(ctx);
    new == BPF_TCP_CLOSE || stands(old, new)
}

#[inline(always)]
fn stands(old: u32, new: u32) -> bool {
    new == BPF_TCP_ESTABLISHED && (old == BPF_TCP_SYN_SENT || old == BPF_TCP_SYN_RECV)
}

/// TCP enters such a state.
#[inline(always)]
pub fn changes<const TABLE: bool>(ctx: &SockOpsContext, socket: Socket) {
    let (old, new) = states(ctx);
    let Some(mut kept) = Kept::of(socket) else {
        return;
    };
    if stands(old, new) {
        established::<TABLE>(ctx, &mut kept);
    } else {
        closed::<TABLE>(ctx, socket, &mut kept, old);
    }
}

/// The states of TCP before and after.
#[inline(always)]
fn states(ctx: &SockOpsContext) -> (u32, u32) {
    // SAFETY: the context is valid while the program runs.
    let args = unsafe { (*ctx.ops).__bindgen_anon_1.args };
    (args[0], args[1])
}

#[inline(always)]
fn established<const TABLE: bool>(ctx: &SockOpsContext, kept: &mut Kept) {
    let (Some(life), Some(key)) = (kept.life(), kept.key()) else {
        return;
    };
    let before = kept.enter::<TABLE>(Stage::ESTABLISHED);
    if !before.has(Stage::FOLLOWED) || before.has(Stage::ESTABLISHED) {
        return;
    }
    // SAFETY: as in `begins`. The rest is added up by a look at it, or at the end.
    let connecting = unsafe {
        let connecting = now().wrapping_sub(read_volatile(addr_of_mut!((*life).began)));
        write_volatile(
            addr_of_mut!((*life).connecting),
            Life::connecting_of(connecting),
        );
        connecting
    };
    traffic::stands(&key);
    moments::happened(
        ctx,
        &Happened {
            connecting,
            ..Happened::new(MomentKind::Established)
        },
    );
}

#[inline(always)]
fn closed<const TABLE: bool>(ctx: &SockOpsContext, socket: Socket, kept: &mut Kept, old: u32) {
    let (Some(life), Some(key)) = (kept.life(), kept.key()) else {
        return;
    };
    let before = kept.enter::<TABLE>(Stage::CLOSED);
    match &kept {
        Kept::Slot(_) => open::over(before, key.endpoint, key.service, None),
        Kept::Socket(original) => original::over(original, before),
    }
    if before.has(Stage::FOLLOWED) && !before.has(Stage::CLOSED) {
        account::<TABLE>(ctx, socket, life, &key, before, old);
    }
    if let Kept::Slot(slot) = kept
        && before.has(Stage::RELEASED)
    {
        slot.free();
    }
}

/// Adds up what a connection did, at its end.
#[inline(always)]
fn account<const TABLE: bool>(
    ctx: &SockOpsContext,
    socket: Socket,
    life: *mut Life,
    key: &TrafficKey,
    before: Stage,
    old: u32,
) {
    let errno = socket.tcp.map_or(0, Tcp::error);
    let stood = before.has(Stage::ESTABLISHED);
    // Without an error and without a FIN: the program let go with data unread, or with SO_LINGER of 0.
    let cut = errno == 0 && (old == BPF_TCP_ESTABLISHED || old == BPF_TCP_CLOSE_WAIT);
    let ending = match before.has(Stage::KILLED) {
        true => Ending::Killed,
        false => Ending::of(errno, stood && !cut),
    };
    // SAFETY: as in `begins`.
    let open = now().wrapping_sub(unsafe { read_volatile(addr_of_mut!((*life).began)) });
    if !stood {
        // SAFETY: the context is valid while the program runs.
        let retransmits = unsafe { (*ctx.ops).total_retrans };
        traffic::failed(key, ending, retransmits as u64);
        return moments::happened(
            ctx,
            &Happened {
                detail: ending.0,
                open,
                ..Happened::new(MomentKind::Failed)
            },
        );
    }
    // SAFETY: the context is valid while the program runs; word by word.
    let (acked, received, retransmits, rtt, una, next) = unsafe {
        (
            (*ctx.ops).bytes_acked,
            (*ctx.ops).bytes_received,
            (*ctx.ops).total_retrans,
            (*ctx.ops).srtt_us >> 3,
            (*ctx.ops).snd_una,
            (*ctx.ops).snd_nxt,
        )
    };
    // The SYN takes the place of a byte, and so do both FINs.
    let fin_acked = una == next
        && (old == BPF_TCP_FIN_WAIT2 || old == BPF_TCP_CLOSING || old == BPF_TCP_LAST_ACK);
    let fin_received = socket.tcp.is_some_and(Tcp::is_done);
    let own = blurred(1 + fin_acked as u64 + socket.header());
    let sent = blurred(acked.saturating_sub(own));
    let received = blurred(received.saturating_sub(blurred(fin_received as u64)));
    // Whoever looks at it at this moment finds everything accounted.
    let before = take::<TABLE>(life, sent, received, retransmits);
    let done = Done {
        sent: blurred(sent.saturating_sub(before.sent)),
        received: blurred(received.saturating_sub(before.received)),
        retransmits: retransmits.wrapping_sub(before.retransmits) as u64,
        rtt: rtt as u64,
        connecting: before.connecting,
    };
    traffic::ended(key, ending, &done, open);
    moments::happened(
        ctx,
        &Happened {
            detail: ending.0,
            sent,
            received,
            connecting: Life::connecting_in_nanoseconds(before.connecting),
            open,
            rtt,
            ..Happened::new(MomentKind::Closed)
        },
    );
}

/// Makes a life say that all of this was accounted. Gives what it said before.
#[inline(always)]
fn take<const TABLE: bool>(life: *mut Life, sent: u64, received: u64, retransmits: u32) -> Life {
    // SAFETY: as in `begins`.
    unsafe {
        if !TABLE {
            // Nobody looks at it before its end.
            return read_volatile(life);
        }
        let words = addr_of_mut!((*life).connecting).cast::<u64>();
        let before = exchange(words, Life::last_words(0, retransmits));
        let (connecting, retransmits) = Life::from_last_words(before);
        Life {
            began: 0,
            sent: exchange(addr_of_mut!((*life).sent), sent),
            received: exchange(addr_of_mut!((*life).received), received),
            connecting,
            retransmits,
        }
    }
}

/// Somebody looks at a connection that may still live: what it has done since the last look is added up. The hook
/// holds the file of the socket, so its slot stays its own; but not the lock of the socket, so TCP goes on meanwhile.
#[inline(always)]
pub fn seen(sk: *mut bpf_sock) {
    let Some(tcp) = Tcp::of(sk) else { return };
    let (Some(traces), Some(progress)) = (tcp.past(), tcp.progress()) else {
        return;
    };
    let socket = Socket {
        sk,
        tcp: Some(tcp),
        cookie: traces.cookie,
        has_storage: traces.has_storage,
    };
    let Some(mut kept) = Kept::of(socket) else {
        return;
    };
    let stage = kept.stage();
    if !stage.has(Stage::FOLLOWED.with(Stage::ESTABLISHED)) || stage.has(Stage::CLOSED) {
        return;
    }
    let (Some(life), Some(key)) = (kept.life(), kept.key()) else {
        return;
    };
    // A FIN that has left may have been acknowledged already; a byte is found later rather than counted twice.
    let state = progress.state as u32;
    let fin_sent = state != BPF_TCP_ESTABLISHED && state != BPF_TCP_CLOSE_WAIT;
    let own = 1 + fin_sent as u64 + socket.header();
    let sent = progress.acked.saturating_sub(own);
    let received = progress
        .received
        .saturating_sub(progress.fin_received as u64);
    // SAFETY: words of an element of a map.
    unsafe {
        let words = addr_of_mut!((*life).connecting).cast::<u64>();
        let before = read_volatile(words);
        let (connecting, retransmits) = Life::from_last_words(before);
        let counted = replace(words, before, Life::last_words(0, progress.retransmits)) == before;
        let (connecting, again) = if counted {
            let again = progress.retransmits.wrapping_sub(retransmits);
            (connecting, again as u64)
        } else {
            (0, 0)
        };
        let done = Done {
            sent: grown(addr_of_mut!((*life).sent), sent),
            received: grown(addr_of_mut!((*life).received), received),
            retransmits: again,
            rtt: progress.rtt as u64,
            connecting,
        };
        traffic::grown(&key, &done);
    }
}

/// By how much a word that was counted is behind. It is not any more then, unless somebody else was faster.
#[inline(always)]
fn grown(word: *mut u64, now: u64) -> u64 {
    // SAFETY: a word of an element of a map.
    let before = unsafe { read_volatile(word) };
    if now > before && replace(word, before, now) == before {
        now - before
    } else {
        0
    }
}

/// No program holds the socket any more.
#[inline(always)]
pub fn released<const TABLE: bool>(ctx: &SockContext, cookie: u64) {
    let Some(slot) = slots::held(cookie) else {
        if TABLE {
            released_by_itself(ctx);
        }
        return;
    };
    let before = if TABLE {
        slot.enter(Stage::RELEASED)
    } else {
        Stage::default()
    };
    if before.has(Stage::FOLLOWED) && !before.has(Stage::CLOSED) {
        // TCP goes on for a while, and its end gives the slot back.
        return;
    }
    not_sent(ctx, slot, cookie, before);
    if TABLE && let Some(connection) = slot.connection() {
        open::over(before, connection.endpoint, connection.service, None);
    }
    slot.free();
}

/// The same of a socket without a slot.
#[inline(always)]
fn released_by_itself(ctx: &SockContext) {
    let Some(original) = original::of(ctx.sock) else {
        return;
    };
    let before = original::enter(original, Stage::RELEASED);
    if !before.has(Stage::FOLLOWED) {
        original::over(original, before);
    }
}

/// Accounts for a connection of which no segment left, when it is forgotten.
#[inline(always)]
fn not_sent(ctx: &SockContext, slot: Held, cookie: u64, stage: Stage) {
    if !stage.has(Stage::ACCOUNTED) || stage.has(Stage::FOLLOWED) {
        return;
    }
    if let Some(connection) = slot.connection()
        && connection.protocol == Protocol::Tcp
    {
        traffic::failed(&key(connection), Ending::NotSent, 0);
        moments::not_sent(ctx, cookie, connection);
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
