//! Whether etcd keeps its quorum when one node goes, from what the other control planes tell of it (talos.md §9.4).
//!
//! Pure: accounts in, a verdict out. Whoever takes a node out of etcd asks here first, each time, with accounts that are
//! newer than the last change.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{EtcdHealth, EtcdMember, NodeName};

/// What helps where voters are missing.
const LOST: &str = "bring the missing voters back first, each with its disk. Where their disks are lost, only a snapshot brings \
                    etcd back: `ichord recover`";

/// What one control plane tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account<'a> {
    pub(crate) witness: &'a NodeName,
    pub(crate) address: IpAddr,
    pub(crate) members: &'a [EtcdMember],
    pub(crate) health: &'a EtcdHealth,
}

/// What etcd loses when a node goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loss {
    /// it has no member of this name
    Nothing,
    /// this member
    Member {
        /// hexadecimal
        id: String,
        /// has no vote
        learner: bool,
        /// how many have a vote now
        voters: usize,
        /// a healthy voter, to be asked
        via: NodeName,
        /// where that one is
        address: IpAddr,
    },
}

/// What `node` is to etcd, as the others tell it, or why it cannot go now.
pub(crate) fn judge(node: &NodeName, accounts: &[Account<'_>], strict: bool) -> Result<Loss, String> {
    let Some(first) = accounts.first() else {
        return Err("no other control plane tells etcd's members now: nothing is changed".to_owned());
    };
    let list = |account: &Account<'_>| -> BTreeSet<(String, bool)> {
        account.members.iter().map(|member| (member.id.clone(), member.learner)).collect()
    };
    if let Some(other) = accounts.iter().find(|account| list(account) != list(first)) {
        return Err(format!(
            "{} and {} tell different members of etcd: nothing is changed until they agree",
            first.witness, other.witness
        ));
    }
    let Some(member) = first.members.iter().find(|member| member.name == node.0) else {
        return Ok(Loss::Nothing);
    };
    let voters = first.members.iter().filter(|member| !member.learner);
    let all = voters.clone().count();
    let leaders: BTreeSet<(&Option<String>, u64)> =
        accounts.iter().map(|account| (&account.health.leader, account.health.term)).collect();
    if leaders.len() > 1 {
        return Err("the control planes do not follow one leader of etcd now: nothing is changed".to_owned());
    }
    if first.health.leader.is_none() {
        return Err(format!("etcd has no leader: {LOST}"));
    }
    let votes = |account: &&Account<'_>| {
        voters.clone().any(|voter| voter.name == account.witness.0) && account.health.errors.is_empty()
    };
    let healthy: Vec<&Account<'_>> =
        accounts.iter().filter(|account| account.witness != node).filter(votes).collect();
    if strict && !member.learner {
        enough(node, all, healthy.len())?;
        let learns = |other: &&EtcdMember| other.learner;
        if let Some(learner) = first.members.iter().find(learns) {
            let name = if learner.name.is_empty() { "a member that has not started" } else { &learner.name };
            return Err(format!("{name} has no vote in etcd yet, and one membership changes at a time"));
        }
    } else if strict && healthy.len() < all / 2 + 1 {
        return Err(few(all, healthy.len()));
    }
    let via = healthy.first().ok_or_else(|| few(all, 0))?;
    let (id, learner) = (member.id.clone(), member.learner);
    Ok(Loss::Member { id, learner, voters: all, via: via.witness.clone(), address: via.address })
}

/// Whether the voters that are left are enough before and after.
fn enough(node: &NodeName, all: usize, healthy: usize) -> Result<(), String> {
    match all {
        1 => Err(only_voter(node)),
        2 if healthy == 0 => Err(few(all, healthy)),
        2 => Err(format!(
            "{node} is one of etcd's two voters: the one that is left could not fail any more, and while {node} comes back \
             neither could. Add a third control plane first (`ichord deploy` lets a missing one be installed)"
        )),
        _ if healthy < all / 2 + 1 => Err(few(all, healthy)),
        _ => Ok(()),
    }
}

/// Why the only one never goes, and what does help.
pub(crate) fn only_voter(node: &NodeName) -> String {
    format!(
        "{node} is etcd's only voter: with it goes the cluster's whole state. Add two control planes to the site first, or \
         keep a snapshot and restore it with `ichord recover`"
    )
}

fn few(all: usize, healthy: usize) -> String {
    format!("of etcd's {all} voters {healthy} others are well, and {} must be: {LOST}", all / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members by name; `b?` has no vote yet, `?` has not started.
    fn members(names: &[&str]) -> Vec<EtcdMember> {
        let member = |(index, name): (usize, &&str)| EtcdMember {
            name: name.trim_end_matches('?').to_owned(),
            id: format!("{index:x}"),
            learner: name.ends_with('?'),
        };
        names.iter().enumerate().map(member).collect()
    }

    /// What becomes of `b`, as these witnesses tell.
    fn asked(names: &[&str], witnesses: &[&str]) -> Result<Loss, String> {
        let (members, health) =
            (members(names), EtcdHealth { leader: Some("0".into()), ..EtcdHealth::default() });
        let witnesses: Vec<NodeName> = witnesses.iter().map(|name| NodeName::from(*name)).collect();
        let accounts: Vec<Account<'_>> = witnesses
            .iter()
            .map(|witness| Account {
                witness,
                address: IpAddr::from([10, 0, 0, 1]),
                members: &members,
                health: &health,
            })
            .collect();
        judge(&"b".into(), &accounts, true)
    }

    #[test]
    fn a_member_goes_only_where_more_than_half_are_well_before_and_after() {
        let goes = |names: &[&str], witnesses: &[&str]| match asked(names, witnesses) {
            Ok(Loss::Member { .. }) => "goes".to_owned(),
            Ok(Loss::Nothing) => "is none".to_owned(),
            Err(reason) => reason,
        };
        for (names, witnesses, expected) in [
            // who has three voters can spare one, dead or alive
            (&["a", "b", "c"][..], &["a", "c"][..], "goes"),
            (&["a", "b", "c"], &["a", "b", "c"], "goes"),
            // but not with another one away
            (&["a", "b", "c"], &["a"], "of etcd's 3 voters 1 others are well, and 2 must be"),
            (&["a", "b", "c"], &["a", "b"], "of etcd's 3 voters 1 others are well, and 2 must be"),
            (&["a", "b", "c", "d"], &["a", "c", "d"], "goes"),
            (&["a", "b", "c", "d"], &["a", "c"], "of etcd's 4 voters 2 others are well, and 3 must be"),
            (&["a", "b", "c", "d", "e"], &["a", "c", "d"], "goes"),
            (&["a", "b", "c", "d", "e"], &["a", "c"], "of etcd's 5 voters 2 others are well, and 3 must be"),
            (&["b"], &["b"], "b is etcd's only voter"),
            (&["a", "b"], &["a", "b"], "b is one of etcd's two voters"),
            (&["a", "b"], &["a"], "b is one of etcd's two voters"),
            (&["a", "b"], &["b"], "of etcd's 2 voters 0 others are well"),
            // somebody comes just now
            (&["a", "b", "c", "d?"], &["a", "c", "d"], "d has no vote in etcd yet"),
            (&["a", "b", "c", "?"], &["a", "c"], "a member that has not started"),
            // without a vote it can be spared wherever there is a quorum
            (&["a", "b?"], &["a", "b"], "goes"),
            (&["a", "b?", "c"], &["a"], "of etcd's 2 voters 1 others are well, and 2 must be"),
            (&["a", "c"], &["a"], "is none"),
            (&["a", "b", "c"], &[], "no other control plane tells"),
        ] {
            let found = goes(names, witnesses);
            assert!(found.starts_with(expected), "{names:?} by {witnesses:?}: {found}");
        }
    }

    #[test]
    fn nothing_is_changed_while_they_disagree_or_complain() {
        let (all, fewer) = (members(&["a", "b", "c"]), members(&["a", "c"]));
        let health = |leader: Option<&str>, errors: &[&str]| EtcdHealth {
            leader: leader.map(str::to_owned),
            term: 3,
            errors: errors.iter().map(|error| (*error).to_owned()).collect(),
        };
        let (a, c) = (NodeName::from("a"), NodeName::from("c"));
        let address = IpAddr::from([10, 0, 0, 1]);
        let told = |one: (&[EtcdMember], &EtcdHealth), other: (&[EtcdMember], &EtcdHealth)| {
            let accounts = [
                Account { witness: &a, address, members: one.0, health: one.1 },
                Account { witness: &c, address, members: other.0, health: other.1 },
            ];
            judge(&"b".into(), &accounts, true)
        };
        let well = health(Some("0"), &[]);
        assert!(told((&all, &well), (&all, &well)).is_ok());
        for (one, other, expected) in [
            ((&all, &well), (&fewer, &well), "tell different members"),
            ((&all, &well), (&all, &health(Some("2"), &[])), "do not follow one leader"),
            ((&all, &health(None, &[])), (&all, &health(None, &[])), "has no leader"),
            ((&all, &well), (&all, &health(Some("0"), &["NOSPACE"])), "1 others are well"),
        ] {
            let reason = told((one.0, one.1), (other.0, other.1)).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
