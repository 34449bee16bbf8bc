//! A real client.

use super::*;

/// What udhcpc runs when it has a lease: takes the address, and where the test says so ends its parent,
/// which then gives the address back (`-R`).
const WHEN_BOUND: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
busybox ifconfig "$interface" "$ip" netmask "$subnet"
[ -z "$GIVE_BACK" ] || kill "$PPID"
"#;

/// BusyBox's udhcpc, the DHCP client of small systems, as firmware and as an operating system.
#[test]
fn a_real_client_gets_its_lease_and_gives_it_back() {
    if Command::new("busybox").arg("udhcpc").arg("--help").output().is_err() {
        println!("skipped: no busybox on this host");
        return;
    }
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let client = there.spawn(|| async {
            namespace::up("cli").await.unwrap();
            namespace::carrier("cli").await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let script = folder.path().join("bound");
            std::fs::write(&script, WHEN_BOUND).unwrap();
            std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
            let udhcpc = |options: &str| {
                let mut command = Command::new("busybox");
                command.args("udhcpc -f -n -i cli -T 1 -s".split(' ')).arg(&script).args(options.split(' '));
                command.stdin(Stdio::null());
                command
            };
            let stranger = udhcpc("-q -t 1").output().unwrap();
            let pxe = "-q -t 3 -O 66 -O 67 -x 93:0007 -V PXEClient:Arch:00007:UNDI:003016";
            let firmware = udhcpc(pxe).output().unwrap();
            let system = udhcpc("-R -t 3").env("GIVE_BACK", "yes").output().unwrap();
            [stranger, firmware, system]
        });
        let outputs = tokio::task::spawn_blocking(|| client.unwrap().join().unwrap().unwrap()).await.unwrap();
        let [stranger, firmware, system] = &outputs;
        assert!(!stranger.status.success(), "a stranger gets nothing: {stranger:?}");
        assert!(firmware.status.success(), "{firmware:?}");
        assert!(system.status.success(), "{system:?}");
        let released = async {
            while stand.counters.get("dhcp", "released") == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(BROKEN, released).await.unwrap_or_else(|_| panic!("not released: {system:?}"));
        let rows = stand.log.rows();
        let [lease] = rows.values().collect::<Vec<_>>()[..] else { panic!("one lease: {rows:?}") };
        assert_eq!((lease.mac, lease.state), (Some(MACHINE), ::dhcp::LeaseState::Released));
        assert!(stand.counters.get("dhcp", "not-for-the-pool") > 0);
    })
    .unwrap();
}
