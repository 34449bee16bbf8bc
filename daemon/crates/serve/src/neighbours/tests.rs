//! The task on a virtual cable, with the kernel of another namespace at its end.

use ::boot::{KnownMachine, Offer};
use net::namespace::{self, Namespace};
use tokio::time::timeout;

use super::*;

const MACHINE: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
/// Nothing here takes long; only a broken task does.
const BROKEN: Duration = Duration::from_secs(30);

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// A node with an address of its own, which has said nothing; it takes another one, and then its slot's.
#[test]
fn a_silent_machine_is_found_by_its_hardware_address() {
    namespace::test(|| async {
        namespace::cable(["srv", "cli"], [None, Some(MACHINE)]).await.unwrap();
        namespace::address("srv", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        let machine = Arc::new(Namespace::create().unwrap());
        machine.take("cli").await.unwrap();
        let inside = async |address: Option<&'static str>| {
            let machine = Arc::clone(&machine);
            let work = move || {
                machine.run(move || async move {
                    namespace::up("cli").await.unwrap();
                    if let Some(address) = address {
                        namespace::address("cli", address.parse().unwrap()).await.unwrap();
                    }
                    namespace::carrier("cli").await.unwrap();
                })
            };
            tokio::task::spawn_blocking(work).await.unwrap().unwrap();
        };
        inside(Some("10.77.0.50/24")).await;
        let known = KnownMachine { node: "one".to_owned(), address: host(11), offer: Offer::Nothing };
        let view = BootView { known: [(MACHINE, known)].into(), ..BootView::default() };
        let (_kept, view) = watch::channel(Arc::new(view));
        let subnet = "10.77.0.0/24".parse().unwrap();
        let (_also, ground) = watch::channel(Ground { subnet, never: [host(1)].into(), pool: None });
        let (tell, mut told) = mpsc::channel(8);
        let trace = Arc::new(Trace::default());
        let neighbours = Neighbours::open("srv", ground, view, tell, Arc::clone(&trace)).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(neighbours.run(shutdown.clone()));
        let found = timeout(BROKEN, told.recv()).await.expect("it is found").unwrap();
        assert_eq!((found.mac, found.address), (MACHINE, host(50).into()));
        assert_eq!(trace.address_of(MACHINE), Some(host(50).into()));
        // when it answers for its slot's address, too, that is where it is
        inside(Some("10.77.0.11/24")).await;
        let arp = Arp::open("srv").unwrap().unwrap();
        let moved = async {
            loop {
                // as anybody on the network asks now and then
                arp.ask(host(11)).await.unwrap();
                if let Ok(moved) = timeout(Duration::from_millis(100), told.recv()).await {
                    return moved.unwrap();
                }
            }
        };
        let moved = timeout(BROKEN, moved).await.expect("it is found again");
        assert_eq!((moved.mac, moved.address), (MACHINE, host(11).into()));
        shutdown.cancel();
        task.await.unwrap();
    })
    .unwrap();
}
