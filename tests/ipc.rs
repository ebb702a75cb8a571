//! System V IPC fails as the table says, and works as ever where no rule fires. Perl calls it, and says each errno.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Scene, program};

const SCRIPT: &str = r#"
use IPC::SysV qw(IPC_PRIVATE IPC_CREAT IPC_RMID S_IRUSR S_IWUSR IPC_NOWAIT);
sub outcome { my ($name, $done) = @_; print "$name ", (defined $done ? "ok" : 0 + $!), "\n"; return $done }
my $mode = IPC_CREAT | S_IRUSR | S_IWUSR;
my $shm = outcome("shmget", shmget(IPC_PRIVATE, 4096, $mode));
my $data = "hello";
outcome("shmat", shmwrite($shm, $data, 0, 5) || undef) if defined $shm;
my $sem = outcome("semget", semget(IPC_PRIVATE, 1, $mode));
outcome("semop", semop($sem, pack("s!3", 0, 1, IPC_NOWAIT)) || undef) if defined $sem;
my $queue = outcome("msgget", msgget(IPC_PRIVATE, $mode));
outcome("msgsnd", msgsnd($queue, pack("l! a*", 1, "text"), IPC_NOWAIT) || undef) if defined $queue;
outcome("msgrcv", msgrcv($queue, $data, 100, 0, IPC_NOWAIT) || undef) if defined $queue;
shmctl($shm, IPC_RMID, 0) if defined $shm;
semctl($sem, 0, IPC_RMID, 0) if defined $sem;
msgctl($queue, IPC_RMID, 0) if defined $queue;
"#;

#[test]
fn every_call_fails_with_its_errno_and_only_it() {
    let scene = Scene::new();
    scene.write("ipc.pl", SCRIPT);
    let perl = program("perl", "perl");
    let bare = scene.bare().go(&[&perl, "ipc.pl"]).ended(0).out;
    assert_eq!(bare.matches(" ok").count(), 7, "{bare}");
    let mut complaints = Complaints::default();
    for (call, errno, number) in [
        ("shmget", "ENOSPC", 28),
        ("shmat", "ENOMEM", 12),
        ("semget", "ENOSPC", 28),
        ("semop", "EIDRM", 43),
        ("msgget", "ENOMEM", 12),
        ("msgsnd", "EIDRM", 43),
        ("msgrcv", "EIDRM", 43),
    ] {
        let done = scene.under(&[&format!("{call}={errno}")]).go(&[&perl, "ipc.pl"]).ended(0);
        // What was not sent cannot be received: only the first failure is ours.
        let failed = done.out.lines().find(|line| !line.ends_with(" ok")).map(str::to_owned);
        complaints.expect(call, failed, Some(format!("{call} {number}")));
        let idle = scene.under(&[&format!("{call}={errno}@1000")]).go(&[&perl, "ipc.pl"]).ended(0);
        complaints.expect(&format!("{call}, idle"), idle.out, bare.clone());
    }
    complaints.none();
}
