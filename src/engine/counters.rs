// SPDX-License-Identifier: GPL-2.0

//! The names of everything that is counted.
//!
//! One counter for each reason to drop, clamp, inject, hold, refuse or unprotect. The engine names the reason, the caller counts.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// A counter of `/proc/net/sttcp_stat`.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// Every counter, in the order of `/proc/net/sttcp_stat`.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The counter's stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name,)*
                }
            }

            /// The counter's place in [`Counter::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

counters! {
    /// Client segments of protected services that a hook looked at.
    SegmentsIn => "segments_in",
    /// Server segments of protected services that a hook looked at.
    SegmentsOut => "segments_out",
    /// Packets to or from the service whose headers could not be read.
    MalformedSegments => "malformed_segments",
    /// Segments that failed the TCP checksum.
    BadChecksum => "bad_checksum",
    /// Fragments that reached a hook (IPv6 before reassembly).
    Fragments => "fragments",
    /// TCP Fast Open options overwritten in a SYN or SYN-ACK.
    FastOpenBlanked => "fast_open_blanked",
    /// Multipath TCP options overwritten in a SYN or SYN-ACK.
    MptcpBlanked => "mptcp_blanked",
    /// Accurate ECN requests turned into classic ECN requests.
    AccurateEcnCleared => "accurate_ecn_cleared",
    /// Connections that became protected (primary).
    Protected => "protected",
    /// Half-open connections dropped because their bucket was full (primary).
    HalfOpenEvicted => "half_open_evicted",
    /// Connections not protected: TCP MD5 signatures (RFC 2385).
    UnprotectedMd5 => "unprotected_md5",
    /// Connections not protected: TCP authentication option (RFC 5925).
    UnprotectedAo => "unprotected_ao",
    /// Connections not protected: there was no backup when they opened.
    UnprotectedNoBackup => "unprotected_no_backup",
    /// Connections not protected any longer: the backup fell silent.
    UnprotectedBackupLost => "unprotected_backup_lost",
    /// Connections not protected: the backup's server refused the shadow.
    UnprotectedRefused => "unprotected_refused",
    /// Connections not protected: the backup did not confirm the shadow in time.
    UnprotectedOpenTimeout => "unprotected_open_timeout",
    /// Connections not protected any longer: the shadow did not take client bytes for too long.
    UnprotectedStalled => "unprotected_stalled",
    /// Connections not protected any longer: the backup's server ended the connection, and the primary's did not (`app_failure`).
    UnprotectedServerEnded => "unprotected_server_ended",
    /// Connections not protected any longer: the server here ended the connection, and the backup's has gone on.
    UnprotectedParted => "unprotected_parted",
    /// Connections not protected any longer: the backup's server did not send what the primary's did (`app_failure`).
    UnprotectedServerHung => "unprotected_server_hung",
    /// Connections not protected any longer: the shadow ended before the connection.
    UnprotectedShadowGone => "unprotected_shadow_gone",
    /// Connections not protected: the two hosts' TCP options do not agree.
    UnprotectedOptions => "unprotected_options",
    /// Connections not protected: no memory.
    UnprotectedNoMemory => "unprotected_no_memory",
    /// Connections that went on unprotected though the backup did not confirm that their shadow was dropped (primary).
    CloseUnconfirmed => "close_unconfirmed",
    /// Connections forgotten at their end though the backup did not confirm that it has heard of it (primary).
    EndUnconfirmed => "end_unconfirmed",
    /// Acknowledgements held back to what the backup has (primary).
    AcksGated => "acks_gated",
    /// Windows held back to what the shadow takes (primary).
    WindowsGated => "windows_gated",
    /// Pure acknowledgements that gating had turned into duplicates, not sent (primary).
    AcksSwallowed => "acks_swallowed",
    /// Acknowledgements sent in place of the stack's, when the backup's came in or the socket was gone (primary).
    AcksReleased => "acks_released",
    /// Ends of a server's stream that the client was not told of at once: the shadow had not come to it (primary, `app_failure`).
    FarewellsHeld => "farewells_held",
    /// Of these, those that it was told after all: the backup's server was slower, and `fin_hold_ms` over (primary, `app_failure`).
    FarewellsSaid => "farewells_said",
    /// Times the server here ended a connection, and the backup's did not (primary, `app_failure`).
    ServersEnded => "servers_ended",
    /// Times the server here did not send what the backup's did (primary, `app_failure`).
    ServersHung => "servers_hung",
    /// Connections on which the two servers were found to have said different things (`divergence`).
    Diverged => "diverged",
    /// Connections that go on at the backup, as the server here has failed on them (primary, `app_failure=connection`).
    ConnectionsMoved => "connections_moved",
    /// Of these, connections reset because the backup was lost later, or began anew (primary).
    MovedReset => "moved_reset",
    /// Connections that this host goes on with, as the primary's server has failed on them (backup, `app_failure=connection`).
    ConnectionsTaken => "connections_taken",
    /// Server segments held until the backup had its shadow (primary).
    OutputAwaitsShadow => "output_awaits_shadow",
    /// Acknowledgements said again to a client that repeated its last bytes when the socket was gone (primary).
    LastAcksRepeated => "last_acks_repeated",
    /// Client segments not kept for the backup: the limit of their connection or of the host was reached (primary).
    RetainOverflow => "retain_overflow",
    /// Gaps in what the tap showed for which the backup asked and was sent bytes (primary).
    GapsRepaired => "gaps_repaired",
    /// Times the backup was sent bytes because it had not taken them in time (primary).
    TailsRepaired => "tails_repaired",
    /// Datagrams with a client's bytes sent to the backup (primary).
    BytesSent => "bytes_sent",
    /// Datagrams with a client's bytes given to the shadow (backup).
    BytesInjected => "bytes_injected",
    /// Resets not sent: they answered what a client repeated because its acknowledgement was held back (primary).
    ResetsWithheld => "resets_withheld",
    /// Clients' SYNs that came by (backup).
    SynsHeard => "syns_heard",
    /// Shadows opened (backup).
    ShadowsOpened => "shadows_opened",
    /// Shadows established (backup).
    ShadowsEstablished => "shadows_established",
    /// Shadows that the local server refused or reset (backup).
    ShadowsRefused => "shadows_refused",
    /// Shadows that ended with their connection (backup).
    ShadowsFinished => "shadows_finished",
    /// Shadows that were still there long after their connection and were reset (backup).
    ShadowsOverdue => "shadows_overdue",
    /// Shadows dropped because the client was 1 GiB ahead of them (backup).
    ShadowsBehind => "shadows_behind",
    /// Shadows dropped because the primary no longer protects their connection (backup).
    ShadowsAbandoned => "shadows_abandoned",
    /// Client segments kept until their shadow is ready (backup).
    PendingQueued => "pending_queued",
    /// Client segments dropped because no shadow came for them in time (backup).
    PendingExpired => "pending_expired",
    /// Client segments dropped because too many were waiting (backup).
    PendingOverflow => "pending_overflow",
    /// Client segments that belong to no protected connection (backup).
    StrayIn => "stray_in",
    /// Acknowledgements beyond what the shadow has sent, clamped (backup).
    AcksClamped => "acks_clamped",
    /// Client segments dropped for their acknowledgement: farther ahead than the client can be known to be (backup).
    AcksDoubted => "acks_doubted",
    /// Acknowledgements injected for output that the client already had (backup).
    AcksInjected => "acks_injected",
    /// Handshake segments injected (backup).
    HandshakesInjected => "handshakes_injected",
    /// Resets injected to end a shadow (backup).
    ResetsInjected => "resets_injected",
    /// Packets dropped for want of memory to read, change or keep them; they are sent again.
    NoMemory => "no_memory",
    /// Segments that could not be injected or sent for want of memory or a route.
    EmitFailed => "emit_failed",
    /// Shadow segments held for the client's acknowledgement (backup).
    SegmentsHeld => "segments_held",
    /// Held segments freed, the client having acknowledged them (backup).
    HeldReleased => "held_released",
    /// Held segments sent at takeover.
    HeldFlushed => "held_flushed",
    /// Shadow output that the client already had, swallowed (backup).
    OutputSwallowed => "output_swallowed",
    /// Other packets from the service address not sent (backup).
    OutputMuted => "output_muted",
    /// Segments not sent for want of a lease (primary, `isolation=yield`).
    OutputIsolated => "output_isolated",
    /// ARP packets that named the service address, not sent (backup).
    ArpMuted => "arp_muted",
    /// Neighbour discovery packets that named the service address, not sent (backup).
    NeighbourMuted => "neighbour_muted",
    /// Connections that went on here after a takeover.
    TakeoverContinued => "takeover_continued",
    /// Connections reset at a takeover: their shadow had ended, or never came to be.
    TakeoverReset => "takeover_reset",
    /// Of these, connections that the primary had not told of: the client's own segments told enough.
    TakeoverGuessed => "takeover_guessed",
    /// Clients asked after a takeover where they stand: of their connections there was nothing but the SYN.
    TakeoverAsked => "takeover_asked",
    /// Connections reset after a takeover: client bytes had been acknowledged that were not here (`ack_policy=eager`).
    TakeoverHoles => "takeover_holes",
    /// Acknowledgements sent at takeover.
    TakeoverAcks => "takeover_acks",
    /// Migrated connections reset because the role was switched off.
    MigratedReset => "migrated_reset",
    /// Connections reset at a takeover: the server here had said something else than the primary's (`divergence=reset`).
    TakeoverDiverged => "takeover_diverged",
    /// Takeovers because the primary fell silent.
    TakeoversLost => "takeovers_lost",
    /// Takeovers because the primary had fallen silent and was switched off (`fence_command`).
    TakeoversFenced => "takeovers_fenced",
    /// Times that was begun.
    FencesBegun => "fences_begun",
    /// Times that failed, and this host stayed silent.
    FencesFailed => "fences_failed",
    /// Takeovers because the primary said that it was going down.
    TakeoversGoodbye => "takeovers_goodbye",
    /// Times this host handed over to its backup by order.
    Switchovers => "switchovers",
    /// Takeovers on request.
    TakeoversRequested => "takeovers_requested",
    /// Times this host lost its backup and fell silent for it (primary, `isolation=yield`).
    Isolated => "isolated",
    /// Times this host was not running when it should have judged the peer.
    DetectorAsleep => "detector_asleep",
    /// Times the peer fell silent.
    PeerLost => "peer_lost",
    /// Times nothing came by one path from the peer, which was heard by another.
    PathsLost => "paths_lost",
    /// Times this host handed over because its link to the clients was down, or its backup heard clients that it did not hear (primary).
    CutOff => "cut_off",
    /// Times the address named by `probe` was asked for an answer.
    ProbesSent => "probes_sent",
    /// Times it could not be asked: there is no way to it, or no memory.
    ProbesFailed => "probes_failed",
    /// Packets that came from it on the service's link.
    ProbesHeard => "probes_heard",
    /// The primary has missed this host, goes on alone and says so.
    PeerAlone => "peer_alone",
    /// Times a new key came to both hosts, and has held since (`key`).
    KeysChanged => "keys_changed",
    /// Datagrams sent to the peer.
    PeerSent => "peer_sent",
    /// Datagrams that could not be sent to the peer.
    PeerSendFailed => "peer_send_failed",
    /// Datagrams accepted from the peer.
    PeerReceived => "peer_received",
    /// Datagrams dropped: no memory to read them.
    PeerNoMemory => "peer_no_memory",
    /// Datagrams dropped: not from the peer's address.
    PeerBadSource => "peer_bad_source",
    /// Datagrams dropped: too short or too long.
    PeerBadLength => "peer_bad_length",
    /// Datagrams dropped: wrong authentication tag.
    PeerBadTag => "peer_bad_tag",
    /// Datagrams dropped: another version of the protocol.
    PeerBadVersion => "peer_bad_version",
    /// Datagrams dropped: type or content that means nothing.
    PeerBadMessage => "peer_bad_message",
    /// Datagrams dropped: repeated or too old.
    PeerReplayed => "peer_replayed",
    /// Datagrams dropped: another session, of ours or of the peer.
    PeerBadSession => "peer_bad_session",
    /// Datagrams dropped: an epoch older than ours.
    PeerBadEpoch => "peer_bad_epoch",
    /// Datagrams of a peer that has the same role as this node.
    PeerRoleConflict => "peer_role_conflict",
    /// Records for the peer dropped because the outbox was full.
    OutboxOverflow => "outbox_overflow",
    /// Times this node stepped down because its peer leads a later epoch.
    SteppedDown => "stepped_down",
    /// Control values refused.
    ControlRefused => "control_refused",
}
