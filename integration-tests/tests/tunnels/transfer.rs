//! A hundred megabytes cross the tunnel each way, and every byte arrives.

use maybetun_integration_tests::{MEGABYTE, Setup, Stream, alone, for_every_pair};

for_every_pair!(a_hundred_megabytes_up, a_hundred_megabytes_down, both_ways_at_once);

fn a_hundred_megabytes_up(setup: Setup) {
    let _heavy = alone();
    let pair = setup.start();
    let stream = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    stream.advance(100 * MEGABYTE);
    stream.finish();
}

fn a_hundred_megabytes_down(setup: Setup) {
    let _heavy = alone();
    let pair = setup.start();
    // A relay learns where its client is from the client's first packet.
    pair.client.host.reaches(&pair.relay.v4());
    let stream = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    stream.advance(100 * MEGABYTE);
    stream.finish();
}

fn both_ways_at_once(setup: Setup) {
    let _heavy = alone();
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    up.advance(20 * MEGABYTE);
    down.advance(20 * MEGABYTE);
    up.finish();
    down.finish();
}
