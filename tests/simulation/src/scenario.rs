//! What a seed makes of a run: how large the site is, what goes wrong by chance, and what befalls it.

use lifecycle::{DeployPolicy, Switch};

use seeded::Numbers;

use crate::faults::Faults;

/// Something that befalls a site. Slots are counted from 0, control planes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// a machine that was once this slot's, with our CA in its config, comes back on
    StrangerInPlace {
        /// which slot
        slot: usize,
    },
    /// a machine of another cluster holds our virtual address
    TakenVirtualAddress,
    /// the slot's machine has another cluster's Talos on its disk
    ForeignState {
        /// which slot
        slot: usize,
    },
    /// the slot's machine has somebody's data on its disk
    UsedDisk {
        /// which slot
        slot: usize,
    },
    /// two disks of the slot's machine match the selector
    TwoDisks {
        /// which slot
        slot: usize,
    },
    /// the slot's machine lacks a link that its config names
    MissingLink {
        /// which slot
        slot: usize,
    },
    /// nobody vouches for the place of the slot's machine
    NoWitness {
        /// which slot
        slot: usize,
    },
    /// a machine that was identified is plugged in where another one, which comes late, belongs
    MovedCable {
        /// whose machine
        slot: usize,
        /// into whose port
        to: usize,
    },
    /// another box stands in the port of a machine that was claimed
    Intruder {
        /// whose port
        slot: usize,
    },
    /// a control plane does not answer for an hour
    SilentHour {
        /// which slot
        slot: usize,
    },
    /// the daemon comes back with an old backup of its store
    OldStore,
    /// the daemon comes back without its store
    EmptyStore,
    /// the daemon's clock jumps by so many seconds
    ClockJump {
        /// seconds
        by: i64,
    },
    /// the disk of the daemon is full for a while
    FullDisk,
    /// a machine never comes
    NeverComes {
        /// which slot
        slot: usize,
    },
    /// a machine comes ten minutes late
    Late {
        /// which slot
        slot: usize,
    },
    /// a machine is replaced between its config and the bootstrap
    Replaced {
        /// which slot
        slot: usize,
    },
    /// a machine with our CA that is not in the site joins etcd
    RogueMember,
    /// the slot's machine has our config, and etcd data of a cluster that we did not found
    OldData {
        /// which slot
        slot: usize,
    },
    /// the slot's machine has our config from an earlier life, and no etcd data
    OldConfig {
        /// which slot
        slot: usize,
    },
    /// a node that had arrived breaks, and another machine is plugged into its port
    Dies {
        /// which slot
        slot: usize,
    },
    /// the same, and the dead one's disk is put into the new machine
    OldDisk {
        /// which slot
        slot: usize,
    },
    /// a person has a node installed anew
    Reprovision {
        /// which slot
        slot: usize,
    },
    /// a person has a node reset
    Reset {
        /// which slot
        slot: usize,
    },
    /// the site names this node only later
    Grows {
        /// which slot
        slot: usize,
    },
    /// the site no longer names this node, and a person has it taken out
    Shrinks {
        /// which slot
        slot: usize,
    },
    /// pods that do not go away are on every node
    EndlessDrain,
    /// the slot's machine stands still once, when it was to fetch what it installs
    Hangs {
        /// which slot
        slot: usize,
    },
    /// in the middle of its cluster's life the daemon comes back without its store, or with an old backup of it
    Forgets {
        /// there is a backup
        old: bool,
    },
}

impl Mishap {
    /// Whose machine it befalls on the second day.
    fn slot(self) -> Option<usize> {
        match self {
            Self::Dies { slot }
            | Self::OldDisk { slot }
            | Self::Reprovision { slot }
            | Self::Reset { slot }
            | Self::Grows { slot }
            | Self::Shrinks { slot } => Some(slot),
            _ => None,
        }
    }

    /// Words of which one stands in the status while this is not mended.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::StrangerInPlace { .. } => &["answers with our CA at", "etcd is Failed"],
            Self::TakenVirtualAddress => &["answers for the virtual address"],
            Self::ForeignState { .. } => &[
                "another cluster",
                "is not empty (another",
                "no machine has been seen",
                "switch it off and on",
            ],
            Self::UsedDisk { .. } => &["is not empty (ext4"],
            Self::TwoDisks { .. } => &["matches several disks"],
            Self::MissingLink { .. } => &["names the link eth1"],
            Self::NoWitness { .. } => &["itself says that it is"],
            Self::MovedCable { .. } => &["is plugged into the port of"],
            Self::Intruder { .. } => &["is plugged in where"],
            Self::OldStore | Self::EmptyStore | Self::Forgets { .. } => &[
                "backup",
                "did not bootstrap",
                "knows nothing of",
                "is vacant",
                "no machine has been seen",
                "switch it off and on",
                // the disk of a machine that was to come back, of which nobody knows any more
                "is not empty (another Talos",
            ],
            Self::NeverComes { .. } => &["no machine has been seen", "switch it off and on"],
            Self::RogueMember => &["not in the site (old-9"],
            Self::OldData { .. } => {
                &["did not bootstrap", "no machine has been seen", "switch it off and on"]
            }
            Self::OldConfig { .. } => &[
                "knows nothing of",
                "not among them",
                "did not bootstrap",
                "no machine has been seen",
                "switch it off and on",
            ],
            // where etcd cannot spare it, only the dead one helps
            Self::Dies { .. } => TOO_FEW,
            Self::OldDisk { .. } => OLD_DISK,
            Self::EndlessDrain => &["--without-drain"],
            Self::Reprovision { .. } | Self::Reset { .. } | Self::Shrinks { .. } => TOO_FEW,
            // who can be switched starts anew by itself
            Self::Hangs { .. } => &["no file request since the boot script was handed out"],
            Self::SilentHour { .. }
            | Self::ClockJump { .. }
            | Self::FullDisk
            | Self::Late { .. }
            | Self::Replaced { .. }
            | Self::Grows { .. } => &[],
        }
    }

    /// Whether what it did may stay when its cause is gone: a machine of the same name pushes the right one out of etcd.
    pub fn lasts(self) -> bool {
        matches!(
            self,
            Self::OldStore
                | Self::EmptyStore
                | Self::OldData { .. }
                | Self::StrangerInPlace { .. }
                | Self::Dies { .. }
                | Self::OldDisk { .. }
                | Self::Reprovision { .. }
                | Self::Reset { .. }
                | Self::Shrinks { .. }
        )
    }

    /// Whether it comes when the cluster is handed over.
    pub fn is_of_day_two(self) -> bool {
        matches!(
            self,
            Self::Dies { .. }
                | Self::OldDisk { .. }
                | Self::Reprovision { .. }
                | Self::Reset { .. }
                | Self::Grows { .. }
                | Self::Shrinks { .. }
                | Self::EndlessDrain
                | Self::Forgets { .. }
        )
    }

    /// Whether the run ends ready even if no person does anything about it.
    pub fn mends_itself(self) -> bool {
        self.names().is_empty()
    }
}

/// What the status says while a dead one's disk is in the new machine: what it is, or that etcd cannot spare the dead one.
const OLD_DISK: &[&str] = &[
    "the disk of a node that was taken out",
    "answers with our CA at",
    "etcd's only voter",
    "one of etcd's two voters",
    "has no leader",
    "no other control plane tells",
];

/// What the status says where etcd cannot spare a node.
const TOO_FEW: &[&str] = &[
    "etcd's only voter",
    "one of etcd's two voters",
    "others are well",
    "has no leader",
    "no other control plane tells",
    "no other one tells etcd's members",
    "no other node answers",
    "do not follow one leader",
];

/// One run's circumstances.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// how many control planes
    pub control_planes: u8,
    /// how many workers
    pub workers: u8,
    /// what goes wrong by chance
    pub faults: Faults,
    /// what befalls it
    pub mishaps: Vec<Mishap>,
    /// who permits installing
    pub policy: DeployPolicy,
    /// whether a person mends what the status names
    pub mended: bool,
    /// whether the machine in a dead one's port takes over without a person
    pub same_port: bool,
    /// how the slots' machines are switched; by hand where nothing is said
    pub power: Vec<Option<Switch>>,
}

impl Scenario {
    /// Nothing happens but what is said.
    pub fn plain(control_planes: u8, workers: u8, faults: Faults) -> Self {
        let policy = DeployPolicy::Ask;
        Self {
            control_planes,
            workers,
            faults,
            mishaps: Vec::new(),
            policy,
            mended: true,
            same_port: false,
            power: Vec::new(),
        }
    }

    /// The circumstances of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Numbers::new(seed ^ 0x5ce_a110);
        let control_planes = [1, 3, 3, 3, 3, 5][random.below(6)];
        let workers = [0, 0, 1, 1, 2][random.below(5)];
        let mut faults = Faults::all();
        faults.scale(&mut random);
        faults.scale_power(&mut random);
        faults.until = random.between(20_000, 120_000);
        let mut mishaps = Vec::new();
        for _ in 0..[0, 1, 1, 1, 2][random.below(5)] {
            let mishap = mishap(&mut random, control_planes, workers);
            let again =
                mishaps.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&mishap));
            if !again {
                mishaps.push(mishap);
            }
        }
        // where the store and its mark are lost, other control planes and their etcd still tell of the cluster; the only
        // one tells nothing once it is unplugged. A blank box in its port is what a new site looks like, so nobody can
        // know: whoever permits it is told at the start that the store is empty and what that means
        if mishaps.contains(&Mishap::EmptyStore) && control_planes == 1 {
            mishaps.retain(|mishap| !matches!(mishap, Mishap::Intruder { .. }));
        }
        // a port of this model has one cable, so one mishap moves cables
        let mut cabled = false;
        mishaps.retain(|mishap| {
            let moves = matches!(
                mishap,
                Mishap::MovedCable { .. } | Mishap::Intruder { .. } | Mishap::Replaced { .. }
            );
            let first = !cabled;
            cabled |= moves;
            first || !moves
        });
        // an hour is long enough
        if let Some(&silent) = mishaps.iter().find(|mishap| matches!(mishap, Mishap::SilentHour { .. })) {
            mishaps = vec![silent];
        }
        // a port is moved into while its own machine is away, and a machine is replaced while another keeps
        // the cluster from being founded
        for index in 0..mishaps.len() {
            match mishaps[index] {
                Mishap::MovedCable { to, .. } => mishaps.push(Mishap::Late { slot: to }),
                Mishap::Replaced { slot } if control_planes > 1 => {
                    mishaps.push(Mishap::Late { slot: (slot + 1) % usize::from(control_planes) });
                }
                _ => {}
            }
        }
        let policy = if random.one_in(3) { DeployPolicy::Auto } else { DeployPolicy::Ask };
        let mended = !random.one_in(3);
        Self { control_planes, workers, faults, mishaps, policy, mended, same_port: false, power: Vec::new() }
    }

    /// The circumstances of a seed of the second day: what befalls a site that was handed over.
    pub fn of_day_two(seed: u64) -> Self {
        let mut random = Numbers::new(seed ^ 0xda7_2222);
        let control_planes = [3, 3, 3, 3, 5, 1, 2][random.below(7)];
        let workers = [0, 1, 2][random.below(3)];
        let mut faults = Faults::all();
        faults.scale(&mut random);
        // power comes and goes more seldom than in a rack that is being built
        (faults.power_loss, faults.worst_moment) = if random.one_in(3) { (40, 8) } else { (0, 0) };
        faults.swapped_address = 0;
        faults.until = random.between(120_000, 240_000);
        let slots = usize::from(control_planes + workers);
        let mut mishaps: Vec<Mishap> = Vec::new();
        for _ in 0..[1, 1, 1, 2][random.below(4)] {
            let slot = random.below(slots);
            let mishap = match random.below(6) {
                0 | 1 => Mishap::Dies { slot },
                2 => Mishap::OldDisk { slot },
                3 => Mishap::Reset { slot },
                _ => Mishap::Reprovision { slot },
            };
            if !mishaps.iter().any(|other| other.slot() == mishap.slot()) {
                mishaps.push(mishap);
            }
        }
        if random.one_in(4) {
            mishaps.push(Mishap::EndlessDrain);
        }
        let policy = if random.one_in(3) { DeployPolicy::Auto } else { DeployPolicy::Ask };
        let mended = !random.one_in(4);
        // where nobody is there to say so, the site does
        let same_port = !mended || !random.one_in(4);
        Self { control_planes, workers, faults, mishaps, policy, mended, same_port, power: Vec::new() }
    }

    /// The circumstances of a seed in which the site grows and shrinks: its people have more nodes, or fewer.
    pub fn of_changing(seed: u64) -> Self {
        let mut random = Numbers::new(seed ^ 0x9_0775);
        let control_planes = [3, 3, 4, 5][random.below(4)];
        let workers = [1, 1, 2][random.below(3)];
        let mut faults = Faults::all();
        faults.scale(&mut random);
        (faults.power_loss, faults.worst_moment, faults.swapped_address) = (0, 0, 0);
        faults.until = random.between(120_000, 240_000);
        let slots = usize::from(control_planes + workers);
        let mut mishaps = match random.below(3) {
            // from one control plane to three, and more
            0 => (1..usize::from(control_planes)).map(|slot| Mishap::Grows { slot }).collect(),
            1 => vec![Mishap::Grows { slot: random.below(slots - 1) + 1 }],
            _ => Vec::new(),
        };
        for _ in 0..[1, 1, 2][random.below(3)] {
            let slot = random.below(slots);
            if !mishaps.iter().any(|other: &Mishap| other.slot() == Some(slot)) {
                mishaps.push(Mishap::Shrinks { slot });
            }
        }
        let policy = if random.one_in(3) { DeployPolicy::Auto } else { DeployPolicy::Ask };
        Self {
            control_planes,
            workers,
            faults,
            mishaps,
            policy,
            mended: true,
            same_port: false,
            power: Vec::new(),
        }
    }

    /// The circumstances of a seed of the second day on which the daemon loses its memory, too.
    pub fn of_lost_memory(seed: u64) -> Self {
        let mut scenario = Self::of_day_two(seed);
        let mut random = Numbers::new(seed ^ 0x105_7000);
        // a blank machine in the port of the only control plane is what a new site looks like
        scenario.control_planes = scenario.control_planes.max(3);
        scenario
            .mishaps
            .retain(|mishap| mishap.slot().is_none_or(|slot| slot < 3 + usize::from(scenario.workers)));
        if random.one_in(2) {
            scenario.mishaps.clear();
        }
        scenario.mishaps.push(Mishap::Forgets { old: random.one_in(2) });
        scenario
    }

    /// The circumstances of a seed of the second day of a site that says how its machines are switched.
    pub fn of_powered(seed: u64) -> Self {
        let mut scenario = Self::of_day_two(seed ^ 0xb007);
        let mut random = Numbers::new(seed ^ 0x9_03e4);
        let slots = usize::from(scenario.control_planes + scenario.workers);
        let ways = [
            None,
            Some(Switch::OnlyOn),
            Some(Switch::Full),
            Some(Switch::Processor),
            Some(Switch::Processor),
        ];
        scenario.power = (0..slots).map(|_| ways[random.below(ways.len())]).collect();
        if random.one_in(2) {
            scenario.mishaps.push(Mishap::Hangs { slot: random.below(slots) });
        }
        scenario
    }

    /// How a slot's machine is switched.
    pub fn switch(&self, slot: usize) -> Option<Switch> {
        self.power.get(slot).copied().flatten()
    }

    /// Whether this befalls the site.
    pub fn has(&self, wanted: impl Fn(&Mishap) -> bool) -> bool {
        self.mishaps.iter().any(wanted)
    }
}

fn mishap(random: &mut Numbers, control_planes: u8, workers: u8) -> Mishap {
    let slots = usize::from(control_planes + workers);
    let slot = random.below(slots);
    let founder = random.below(usize::from(control_planes));
    let other = (slot + 1 + random.below(slots.max(2) - 1)) % slots;
    match random.below(20) {
        0 => Mishap::StrangerInPlace { slot },
        1 => Mishap::TakenVirtualAddress,
        2 => Mishap::ForeignState { slot },
        3 => Mishap::UsedDisk { slot },
        4 => Mishap::TwoDisks { slot },
        5 => Mishap::MissingLink { slot },
        6 => Mishap::NoWitness { slot: founder },
        7 if other != slot => Mishap::MovedCable { slot, to: other },
        8 => Mishap::Intruder { slot },
        9 if random.one_in(3) => Mishap::SilentHour { slot: founder },
        10 => Mishap::OldStore,
        11 => Mishap::EmptyStore,
        12 => Mishap::ClockJump { by: [-7_200, -600, 600, 7_200, 90_000][random.below(5)] },
        13 => Mishap::FullDisk,
        14 => Mishap::NeverComes { slot },
        15 => Mishap::Late { slot },
        16 => Mishap::Replaced { slot: founder },
        17 => Mishap::RogueMember,
        18 => Mishap::OldData { slot: founder },
        _ => Mishap::OldConfig { slot: founder },
    }
}
