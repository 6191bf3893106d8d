//! The rig itself: what the other tests rely on.

use crate::support::event::Event;
use std::time::Duration;

#[test]
fn events_are_read_as_they_are_written() {
    let event = Event {
        at: Duration::from_nanos(123_456_789_012),
        name: "router".to_owned(),
        pid: 7,
        what: "got SIGTERM alive:policy+python".to_owned(),
    };
    assert_eq!(Event::parse(&event.to_string()), Some(event));
    assert_eq!(Event::parse("half a li"), None);
}
