//! Datagrams between sockets of both OS stacks.
use anyhow::Result;
use octroi_tests::lab::{Pair, os::udp_socket};

/// Sends datagrams from the peer's OS to a socket on `port` of the served end, which answers each, and counts the answers.
///
/// # Errors
/// A socket cannot be had. A datagram that is lost is no error: the count stops there.
pub(super) fn exchange(pair: &Pair, port: u16, count: u64) -> Result<u64> {
    let server = udp_socket(&pair.served, (pair.served.v4, port).into())?;
    let client = udp_socket(&pair.peer, (pair.peer.v4, 0).into())?;
    client.connect((pair.served.v4, port))?;
    for number in 0..count {
        let question = number.to_be_bytes();
        let mut buffer = [0; 16];
        client.send(&question)?;
        let Ok((len, from)) = server.recv_from(&mut buffer) else { return Ok(number) };
        server.send_to(&buffer[..len], from)?;
        let Ok(len) = client.recv(&mut buffer) else { return Ok(number) };
        if buffer[..len] != question {
            return Ok(number);
        }
    }
    Ok(count)
}
