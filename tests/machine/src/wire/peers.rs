//! etcd between simulated machines: one question and one answer a connection, each a line of JSON, on the
//! real ports.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{server::Server, world::World};
use crate::model::{PeerAnswer, PeerCall, PeerRefusal};

/// For one exchange: long enough for a busy machine, short enough for a dead one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a question or an answer, in bytes.
const LONGEST: u64 = 1 << 20;

type Answer = Result<PeerAnswer, PeerRefusal>;

/// Answers on a port.
pub(super) async fn serve(port: u16, world: Arc<World>) -> anyhow::Result<Server> {
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
    Ok(Server::of(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let world = Arc::clone(&world);
                    connections.spawn(async move {
                        tokio::time::timeout(PATIENCE, answer(stream, port, &world)).await.ok();
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }))
}

async fn answer(stream: TcpStream, port: u16, world: &World) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST)).read_line(&mut line).await?;
    let call: PeerCall = serde_json::from_str(&line)?;
    // the token goes to trustd alone
    anyhow::ensure!(call.port() == port, "asked at the wrong port");
    let answer: Answer = world.with(|machine, now| machine.peer(call, now));
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    Ok(writer.write_all(&text).await?)
}

/// Asks another machine.
pub(super) async fn ask(to: IpAddr, call: &PeerCall) -> Answer {
    let asked = async {
        let mut text = serde_json::to_vec(call)?;
        text.push(b'\n');
        let mut stream = TcpStream::connect((to, call.port())).await?;
        stream.write_all(&text).await?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST)).read_line(&mut line).await?;
        anyhow::Ok(serde_json::from_str::<Answer>(&line)?)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        _ => Err(PeerRefusal::Unreachable),
    }
}
