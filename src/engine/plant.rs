// SPDX-License-Identifier: GPL-2.0

//! Faults to plant, which show that the simulation (`tests/sim`) finds such faults.
//!
//! Each is a line of the engine that can be told to be wrong. That costs nothing: without the feature `plants`, as in the module, nothing is
//! ever planted, and the compiler knows it.

macro_rules! plants {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// A fault.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub enum Plant {
            $($(#[$doc])* $variant,)*
        }

        impl Plant {
            /// Every fault.
            pub const ALL: &'static [Plant] = &[$(Plant::$variant,)*];
        }
    };
}

plants! {
    /// The gate stands open: the client is told of bytes that the backup lacks.
    Gate,
    /// The server's segments go out before the backup knows of the connection.
    Greeting,
    /// New connections do not wait until a backup that fell silent must know that it is none.
    Lease,
    /// Eager acknowledgements do not ask for copies.
    Copies,
    /// After a takeover nobody looks for bytes that were acknowledged and are not here.
    Hole,
    /// A connection is forgotten at its end, though the shadow lacks what the client sent last.
    Fin,
    /// What was held back does not go out when the backup's progress comes.
    Release,
    /// A gated acknowledgement keeps its window field, so that the right edge moves back.
    RightEdge,
    /// The window is not gated.
    Window,
    /// The shadow reports a byte more than it has taken.
    Progress,
    /// An acknowledgement of what the shadow has not sent is clamped to a byte too many.
    Clamp,
    /// SACK edges stay in the primary's numbers.
    Sack,
    /// Echoed timestamps stay in the primary's clock.
    Echo,
    /// The shadow's timestamps stay in its own clock after a takeover.
    Clock,
    /// The shadow is not told that the client has its output already.
    Inject,
    /// The shadow's output is swallowed and not held.
    Hold,
    /// Held output stays after the client has acknowledged it.
    Free,
    /// The window after a takeover is not scaled.
    Scale,
    /// Sequence numbers are compared as plain numbers.
    Wrap,
    /// A primary's lease counts from when its backup's word came in.
    Renewal,
    /// A backup does not wait until its primary is switched off.
    Fence,
    /// After a long silence a backup goes on with connections on which servers may have spoken.
    Late,
}

#[cfg(feature = "plants")]
mod planted {
    use super::Plant;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    const NONE: usize = usize::MAX;

    static PLANTED: AtomicUsize = AtomicUsize::new(NONE);

    /// Plants a fault, or none, in the whole process.
    pub fn plant(plant: Option<Plant>) {
        PLANTED.store(plant.map_or(NONE, |plant| plant as usize), Relaxed);
    }

    pub(crate) fn planted(plant: Plant) -> bool {
        PLANTED.load(Relaxed) == plant as usize
    }
}

#[cfg(feature = "plants")]
pub use planted::plant;

/// Whether a fault is planted.
pub(super) fn planted(plant: Plant) -> bool {
    #[cfg(feature = "plants")]
    return planted::planted(plant);
    #[cfg(not(feature = "plants"))]
    {
        let _ = plant;
        false
    }
}

/// `value`, which the fault forgets.
pub(super) fn unless<T: Default>(plant: Plant, value: T) -> T {
    if planted(plant) {
        T::default()
    } else {
        value
    }
}
