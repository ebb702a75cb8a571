use super::*;

const CONNECT: Op = Op::Connect;

fn fault(op: Op, resource: &str, index: u64) -> Fault {
    Fault {
        key: key(op, resource.as_bytes(), 1),
        index,
        op,
        rule: 3,
        flags: 0,
        amount: 0,
        roles: 0,
        image: 1,
        last_image: 5,
        program: program(b"/bin/a"),
    }
}

fn call(op: Op, resource: &str, image: u32) -> Call {
    let program = program(b"/bin/a");
    let resource = resource.as_bytes();
    let (key, return_key) = (key(op, resource, image.into()), key(op, resource, program));
    Call { op, key, return_key, amount: 0, roles: 0, image, program, now: 0 }
}

fn close(book: &Book, call: &Call, before: u64) -> Vec<u64> {
    let found = book.matching(call);
    (0..64)
        .filter(|at| found & 1 << at != 0)
        .filter_map(|at| book.close(at, before, 0, false))
        .map(|seen| seen.index)
        .collect()
}

#[test]
fn a_success_closes_what_has_its_key_and_nothing_else() {
    let book = Book::new();
    assert_eq!(book.open(&fault(CONNECT, "a:1", 10)), Opened::Begun);
    assert_eq!(book.open(&fault(CONNECT, "a:1", 11)), Opened::GoesOn);
    assert_eq!(book.open(&fault(CONNECT, "b:1", 12)), Opened::Begun);
    assert_eq!(close(&book, &call(CONNECT, "c:1", 1), 99), [0; 0]);
    assert_eq!(close(&book, &call(Op::Send, "a:1", 1), 99), [0; 0]);
    // Another process counts too; the first injection names the episode.
    assert_eq!(close(&book, &call(CONNECT, "a:1", 77), 99), [10]);
    assert_eq!(close(&book, &call(CONNECT, "a:1", 77), 99), [0; 0], "it is closed once");
    assert!(book.watches(CONNECT));
    assert_eq!(book.open(&fault(CONNECT, "a:1", 20)), Opened::Begun, "the next fault opens another");
    assert_eq!(close(&book, &call(CONNECT, "a:1", 1), 99), [20]);
}

#[test]
fn a_call_that_began_before_the_fault_proves_nothing() {
    let book = Book::new();
    book.open(&fault(CONNECT, "a:1", 10));
    assert_eq!(close(&book, &call(CONNECT, "a:1", 1), 10), [0; 0]);
    assert_eq!(close(&book, &call(CONNECT, "a:1", 1), 11), [10]);
}

#[test]
fn an_allocation_must_be_as_large_and_by_the_same_image() {
    let book = Book::new();
    book.open(&Fault { amount: 100, ..fault(Op::Malloc, "", 1) });
    book.open(&Fault { amount: 5000, ..fault(Op::Malloc, "", 2) });
    book.open(&Fault { amount: 7, ..fault(Op::Malloc, "", 3) });
    let malloc = |amount, image| Call { amount, ..call(Op::Malloc, "", image) };
    assert_eq!(book.matching(&malloc(4999, 1)), 0);
    assert_eq!(book.matching(&malloc(9000, 2)), 0);
    assert_eq!(close(&book, &malloc(5000, 1), 99), [1]);
}

#[test]
fn who_was_ended_has_to_come_back() {
    let book = Book::new();
    let returns = |resource: &str| {
        let key = key(Op::Write, resource.as_bytes(), program(b"/bin/a"));
        Fault { key, flags: flag::RETURNS, ..fault(Op::Write, resource, 1) }
    };
    book.open(&returns("/w"));
    assert_eq!(book.matching(&call(Op::Write, "/w", 4)), 0, "it was there before");
    assert_eq!(book.matching(&Call { program: 9, ..call(Op::Write, "/w", 6) }), 0, "another program");
    assert_eq!(close(&book, &call(Op::Write, "/w", 6), 99), [1]);
    book.open(&Fault { index: 2, ..returns("/w") });
    assert_eq!(close(&book, &call(Op::Write, "/w", 1), 99), [2], "it lived through the signal");
    // An error on the same resource is another episode.
    book.open(&Fault { index: 3, ..returns("/w") });
    assert_eq!(book.open(&fault(Op::Write, "/w", 4)), Opened::Begun);
}

#[test]
fn members_of_a_role_stand_in_for_each_other() {
    let book = Book::new();
    book.open(&Fault { roles: 0b110, ..fault(CONNECT, "a:1", 1) });
    book.open(&Fault { roles: 0b001, ..fault(CONNECT, "b:1", 2) });
    assert_eq!(close(&book, &Call { roles: 0b110, ..call(Op::Send, "c:1", 1) }, 99), [0; 0]);
    assert_eq!(close(&book, &Call { roles: 0b100, ..call(CONNECT, "c:1", 1) }, 99), [1]);
    assert_eq!(book.matching(&Call { roles: 0b100, ..call(CONNECT, "c:1", 1) }), 0, "it is not followed by others");
}

#[test]
fn the_sixty_fifth_is_told_and_closing_makes_room() {
    let book = Book::new();
    for index in 0..64 {
        assert_eq!(book.open(&fault(Op::Open, &format!("/{index}"), index)), Opened::Begun);
    }
    assert_eq!(book.open(&fault(Op::Open, "/64", 64)), Opened::Full);
    assert_eq!(book.open(&fault(Op::Open, "/7", 65)), Opened::GoesOn);
    assert_eq!(close(&book, &call(Op::Open, "/9", 1), 99), [9]);
    assert_eq!(book.open(&fault(Op::Open, "/64", 66)), Opened::Begun, "in the place that was only followed");
    assert_eq!(book.open(&fault(Op::Open, "/67", 67)), Opened::Full);
}

#[test]
fn what_comes_after_is_followed_for_a_few_calls_or_a_moment() {
    let book = Book::new();
    book.open(&fault(CONNECT, "a:1", 1));
    let bits = book.matching(&call(CONNECT, "a:1", 1));
    let at = bits.trailing_zeros() as usize;
    assert_eq!(book.tried(at, 99, false).map(|seen| seen.tries), Some(1));
    assert_eq!(book.close(at, 99, 50, false).map(|seen| seen.tries), Some(2));
    assert_eq!(book.tried(at, 99, false), None);
    let tries: Vec<_> = std::iter::from_fn(|| book.tried(at, 99, true)).map(|seen| seen.tries).collect();
    assert_eq!(tries, [1, 2, 3, 4]);
    assert!(!book.watches(CONNECT));
    book.open(&fault(CONNECT, "a:1", 2));
    book.close(book.matching(&call(CONNECT, "a:1", 1)).trailing_zeros() as usize, 99, 50, false);
    assert_ne!(book.matching(&Call { now: 50, ..call(CONNECT, "a:1", 1) }), 0);
    assert_eq!(book.matching(&Call { now: 51, ..call(CONNECT, "a:1", 1) }), 0);
    assert!(!book.watches(CONNECT));
}

#[test]
fn many_attempts_are_told_ever_less_often() {
    let book = Book::new();
    book.open(&fault(CONNECT, "a:1", 1));
    let told = (0..1000).filter_map(|_| book.tried(0, 99, false)).filter(|seen| seen.told).count();
    assert_eq!(told, 64 + 3);
}

#[test]
fn a_connect_under_way_has_other_calls_watched() {
    let book = Book::new();
    book.open(&fault(CONNECT, "a:1", 1));
    assert!(!book.watches(Op::Getsockopt));
    book.connecting(0);
    assert!(book.watches(Op::Getsockopt) && !book.watches(Op::Recv));
}

#[test]
fn a_fork_is_as_good_as_a_vfork() {
    let book = Book::new();
    book.open(&fault(Op::Vfork, "", 1));
    assert!(book.watches(Op::Fork) && book.watches(Op::Vfork) && !book.watches(Op::Spawn));
    assert_eq!(close(&book, &call(Op::Fork, "", 1), 99), [1]);
    assert_eq!((kin(Op::Read), kin(Op::Vfork)), (&[Op::Read][..], &[Op::Fork, Op::Vfork][..]));
}

#[test]
fn results_tell_success_each_call_in_its_own_way() {
    let seen = |op, results: &[i64]| results.iter().map(|result| succeeded(op, *result, false)).collect::<Vec<_>>();
    assert_eq!(seen(Op::Open, &[-1, 0, 3]), [false, true, true]);
    assert_eq!(seen(Op::Recv, &[-1, 0, 3]), [false, false, true]);
    assert!(succeeded(Op::Read, 0, true));
    assert_eq!(seen(Op::Fork, &[-1, 0, 3]), [false, false, true]);
    assert_eq!(seen(Op::Malloc, &[0, 4096]), [false, true]);
    assert_eq!(seen(Op::Spawn, &[0, 11]), [true, false]);
    assert_eq!(seen(Op::Getaddrinfo, &[0, -2]), [true, false]);
    assert_eq!(seen(Op::Fread, &[0, 1]), [false, true]);
    assert_eq!(seen(Op::Mmap, &[-1, 4096]), [false, true]);
}

#[test]
fn threads_close_each_episode_once() {
    let book = Book::new();
    let closed = AtomicU64::new(0);
    let opened = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (book, closed, opened) = (&book, &closed, &opened);
            scope.spawn(move || {
                for round in 0..5000 {
                    let name = format!("/{}", (round + thread) % 3);
                    if book.open(&fault(Op::Open, &name, round * 4 + thread)) == Opened::Begun {
                        opened.fetch_add(1, SeqCst);
                    }
                    closed.fetch_add(close(book, &call(Op::Open, &name, 1), u64::MAX >> 3).len() as u64, SeqCst);
                }
            });
        }
    });
    for name in ["/0", "/1", "/2"] {
        closed.fetch_add(close(&book, &call(Op::Open, name, 1), u64::MAX >> 3).len() as u64, SeqCst);
    }
    assert_eq!(closed.load(SeqCst), opened.load(SeqCst));
}
