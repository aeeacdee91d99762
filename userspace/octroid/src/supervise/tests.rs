//! The interface machine: each event in each state, and what must hold in any order of them.
use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn link(index: u32, up: bool) -> Link {
    Link { index, name: "veth1".to_owned(), up, mtu: 1500, mac: [2, 0, 0, 0, 0, 1], ..Link::default() }
}

fn facts(index: u32, up: bool) -> Facts {
    Facts { link: link(index, up), queues: 1 }
}

/// What was done, without the log.
fn done(actions: &[Action]) -> Vec<&Action> {
    actions.iter().filter(|a| !matches!(a, Action::Say(..))).collect()
}

fn said(actions: &[Action]) -> Vec<&str> {
    let text = |a: &'_ Action| if let Action::Say(_, text) = a { Some(text.clone()) } else { None };
    actions.iter().filter_map(text).map(|t| &*Box::leak(t.into_boxed_str())).collect()
}

fn served(index: u32) -> Machine {
    let mut machine = Machine::new("veth1");
    assert_eq!(
        done(&machine.on(Event::Seen(Some(facts(index, true))), MS)),
        [&Action::Serve(facts(index, true))]
    );
    assert_eq!(said(&machine.on(Event::Started, MS)), ["is served, 1 receive queue"]);
    assert_eq!(machine.state(), &State::Served(facts(index, true)));
    machine
}

#[test]
fn f07_down_and_up_closes_and_serves_again() {
    let mut machine = served(5);
    let actions = machine.on(Event::Seen(Some(facts(5, false))), MS);
    assert_eq!((done(&actions), said(&actions)), (vec![&Action::Close], vec!["went down"]));
    assert_eq!(machine.due(), None, "nothing is tried while it is down");
    assert_eq!(machine.on(Event::Tick, MS * 1000), []);
    assert_eq!(machine.on(Event::Seen(Some(facts(5, false))), MS * 1000), []);
    let actions = machine.on(Event::Seen(Some(facts(5, true))), MS * 2000);
    assert_eq!(done(&actions), [&Action::Serve(facts(5, true))]);
}

#[test]
fn f07_deleted_and_remade_is_another_device() {
    let mut machine = served(5);
    let actions = machine.on(Event::Seen(None), MS);
    assert_eq!((done(&actions), said(&actions)), (vec![&Action::Forget], vec!["is gone"]));
    assert_eq!(machine.state(), &State::Absent);
    assert_eq!(machine.on(Event::Seen(None), MS), []);
    assert_eq!(done(&machine.on(Event::Seen(Some(facts(6, true))), MS)), [&Action::Serve(facts(6, true))]);

    let mut at_once = served(5);
    let actions = at_once.on(Event::Seen(Some(facts(6, true))), MS);
    assert_eq!(done(&actions), [&Action::Forget, &Action::Serve(facts(6, true))]);
}

#[test]
fn f07_renamed_stays_served() {
    let mut machine = served(5);
    let mut renamed = facts(5, true);
    renamed.link.name = "wan0".to_owned();
    let links = [link(7, true), renamed.link.clone()];
    assert_eq!(
        machine.choose(&links),
        Some(&renamed.link),
        "followed by its index, whoever has its name now"
    );
    let actions = machine.on(Event::Seen(Some(renamed)), MS);
    assert_eq!((done(&actions), said(&actions)), (vec![], vec!["was called veth1 before"]));
    assert_eq!(machine.choose(&links[..1]), Some(&links[0]), "once it is gone, the name counts");
    assert_eq!(machine.choose(&[]), None);
}

#[test]
fn f07_queues_and_mtu_are_judged_by_serving_again() {
    let mut machine = served(5);
    let two = Facts { queues: 2, ..facts(5, true) };
    let actions = machine.on(Event::Seen(Some(two.clone())), MS);
    assert_eq!(done(&actions), [&Action::Close, &Action::Serve(two.clone())]);
    assert_eq!(said(&actions), ["has 2 receive queues now, 1 before"]);
    machine.on(Event::Started, MS);
    let mut large = two;
    large.link.mtu = 9000;
    let actions = machine.on(Event::Seen(Some(large.clone())), MS);
    assert_eq!(done(&actions), [&Action::Close, &Action::Serve(large)]);
    assert_eq!(said(&actions), ["has MTU 9000 now, 1500 before"]);
}

#[test]
fn a_new_mac_address_is_configured() {
    let mut machine = served(5);
    let mut other = facts(5, true);
    other.link.mac[5] = 9;
    assert_eq!(machine.on(Event::Seen(Some(other.clone())), MS), [Action::Configure(other)]);
}

#[test]
fn failures_pause_longer_and_are_said_once() {
    let mut machine = Machine::new("veth1");
    machine.on(Event::Seen(Some(facts(5, true))), Duration::ZERO);
    let (mut now, mut pauses, mut lines) = (Duration::ZERO, Vec::new(), 0);
    for _ in 0..9 {
        let actions = machine.on(Event::Failed("queue 0 is busy".to_owned()), now);
        assert_eq!(done(&actions), Vec::<&Action>::new(), "not at once");
        lines += said(&actions).len();
        let due = machine.due().unwrap();
        assert_eq!(machine.on(Event::Tick, due - MS), []);
        assert_eq!(machine.on(Event::Tick, due), [Action::Serve(facts(5, true))]);
        pauses.push((due - now).as_millis());
        now = due;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(lines, 1);
    let actions = machine.on(Event::Failed("no memory".to_owned()), now);
    assert_eq!(said(&actions), ["cannot be served: no memory"]);
    assert_eq!(said(&machine.on(Event::Started, now)), ["is served, 1 receive queue"]);
}

#[test]
fn a_lost_port_is_opened_again_after_a_pause() {
    let mut machine = served(5);
    let actions = machine.on(Event::PortFailed("the device is gone or down".to_owned()), MS);
    assert_eq!(done(&actions), [&Action::Close]);
    assert_eq!(machine.on(Event::PortFailed("the other one".to_owned()), MS), [], "closed already");
    assert_eq!(machine.due(), Some(MS + FIRST_PAUSE));
    assert_eq!(machine.on(Event::Tick, MS + FIRST_PAUSE), [Action::Serve(facts(5, true))]);
}

#[test]
fn f17_a_stepped_clock_makes_nobody_hurry_or_wait() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut machine = served(5);
    let serve = [Action::Serve(facts(5, true))];
    machine.on(Event::PortFailed("gone".to_owned()), HOUR);
    // An hour forward: one attempt, not all those of an hour. An hour and two back: one attempt each.
    let mut pause = FIRST_PAUSE * 2;
    for now in [HOUR * 2, HOUR, Duration::ZERO] {
        assert_eq!(machine.on(Event::Tick, now), serve, "at {now:?}");
        machine.on(Event::Failed("still gone".to_owned()), now);
        assert_eq!(machine.due(), Some(now + pause));
        assert_eq!(machine.on(Event::Tick, now), [], "not again at once");
        pause *= 2;
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let seen = (1_u32..4, any::<bool>(), 1_u32..3, prop::sample::select(vec![1500_u32, 9000]), 0_u8..2);
    prop_oneof![
        1 => Just(Event::Seen(None)),
        6 => seen.prop_map(|(index, up, queues, mtu, mac)| {
            let mac = [2, 0, 0, 0, 0, mac];
            Event::Seen(Some(Facts { link: Link { mtu, mac, ..link(index, up) }, queues }))
        }),
        2 => Just(Event::PortFailed("gone".to_owned())),
        2 => Just(Event::Tick),
    ]
}

proptest! {
    /// Whatever happens: nothing is served twice, nothing is closed that is not open, a device that is down or away is
    /// left alone, and no event is worth more than ten lines.
    #[test]
    fn f07_any_order_of_events_keeps_the_order_of_actions(
        events in prop::collection::vec((any_event(), any::<bool>()), 1..60)
    ) {
        let (mut machine, mut open, mut now) = (Machine::new("veth1"), None::<u32>, Duration::ZERO);
        for (event, works) in events {
            now += FIRST_PAUSE;
            let mut lines = 0;
            let mut next = Some(event);
            while let Some(event) = next.take() {
                let actions = machine.on(event, now);
                lines += said(&actions).len();
                for action in &actions {
                    match action {
                        Action::Serve(facts) => {
                            prop_assert!(open.is_none() && facts.link.up);
                            prop_assert_eq!(Some(action), actions.last(), "its answer comes before anything else");
                            open = works.then_some(facts.link.index);
                            next = Some(if works { Event::Started } else { Event::Failed("no".to_owned()) });
                        }
                        Action::Close => prop_assert!(open.take().is_some()),
                        Action::Forget => open = None,
                        Action::Configure(facts) => prop_assert_eq!(open, Some(facts.link.index)),
                        Action::Say(..) => {}
                    }
                }
            }
            prop_assert!(lines <= 10);
            prop_assert_eq!(matches!(machine.state(), State::Served(_)), open.is_some());
        }
    }
}
