//! Every guard of the core by its name: what it keeps from happening.
//!
//! The shipped core is `Core<Strict>`, in which each of them is always on; the compiler sees constants.
//! The simulation instantiates the core with one guard left out, to prove that it would be missed.

/// A check that stands between a machine and harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// nothing is installed without a permit
    Permit,
    /// a permit ends
    PermitEnds,
    /// a permit pays for so many boots
    PermitBoots,
    /// a control-plane config needs somebody who vouches for the machine's place
    Witness,
    /// a slot that has its machine takes no other
    SlotTaken,
    /// a machine that holds a slot takes no other
    MachineTaken,
    /// the config goes to the claimed machine only
    SameMachine,
    /// our CA at the right address proves nothing when it is another machine
    SameConfigured,
    /// an installed machine boots its own disk
    InstalledStays,
    /// exactly one disk matches
    OneDisk,
    /// the links that the config names are there
    Links,
    /// data of somebody else on the install disk is not overwritten without a word
    BlankDisk,
    /// a wipe is handed out once for each word
    WipeOnce,
    /// a bootstrap needs every control plane, or a majority and a person's word
    EveryControlPlane,
    /// machines that were not installed from this store, and a store that was restored, prove nothing
    Newness,
    /// a control plane with etcd data means that a cluster exists
    NoEtcdData,
    /// somebody who answers for the virtual address means that a cluster exists
    VirtualAddress,
    /// only the node of the intent is ever asked to bootstrap
    SameNode,
    /// what is decided is stored before it is done
    StoredFirst,
    /// a reboot loses a bootstrap that was accepted, so it is asked for again
    LostBootstrap,
    /// etcd's members are the control planes and nobody else
    ExactMembers,
    /// each control plane is asked, not one for all
    EveryWitness,
    /// a reply to another effect than the one under way is dropped
    OwnReply,
    /// the same for the cluster's effects
    OwnClusterReply,
    /// nothing is taken out of etcd that its quorum needs
    KeepsQuorum,
    /// a clock that went back has not stopped time
    ClockWentBack,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Permit,
        Self::PermitEnds,
        Self::PermitBoots,
        Self::Witness,
        Self::SlotTaken,
        Self::MachineTaken,
        Self::SameMachine,
        Self::SameConfigured,
        Self::InstalledStays,
        Self::OneDisk,
        Self::Links,
        Self::BlankDisk,
        Self::WipeOnce,
        Self::EveryControlPlane,
        Self::Newness,
        Self::NoEtcdData,
        Self::VirtualAddress,
        Self::SameNode,
        Self::StoredFirst,
        Self::LostBootstrap,
        Self::ExactMembers,
        Self::EveryWitness,
        Self::OwnReply,
        Self::OwnClusterReply,
        Self::KeepsQuorum,
        Self::ClockWentBack,
    ];
}

/// Which guards are on. The one implementation in the product is [`Strict`].
pub trait Guards: Clone {
    /// Whether this one is.
    fn on(&self, guard: Guard) -> bool;
}

/// All of them, always.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl Guards for Strict {
    #[inline]
    fn on(&self, _: Guard) -> bool {
        true
    }
}
