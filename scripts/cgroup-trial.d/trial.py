"""What scripts/cgroup-trial looks at, within its virtual machine."""

import json, os, shutil, signal, subprocess, time
from pathlib import Path

CGROUPS = Path('/sys/fs/cgroup')
# A target that says what it finds around it.
LOOK = '''
import json, os, sys, time
own = '/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip().split('::')[1]
read = lambda name: open(own + '/' + name).read()
numbers = lambda name: {key: int(value) for key, value in (line.split() for line in read(name).splitlines())}
'''
TOUCH_FILE = LOOK + '''
with open('big', 'wb') as file:
    for _ in range(200):
        file.write(bytes(1 << 20))
for _ in range(3):
    with open('big', 'rb') as file:
        while file.read(1 << 20):
            pass
json.dump({'max': read('memory.max'), 'events': numbers('memory.events'), 'in it': read('cgroup.procs').count('\\n')}, open('/tmp/saw', 'w'))
'''
SPIN = LOOK + '''
began, used = time.monotonic(), numbers('cpu.stat')['usage_usec']
while time.monotonic() - began < 5:
    pass
used = (numbers('cpu.stat')['usage_usec'] - used) / 1e6
json.dump({'max': read('cpu.max'), 'stat': numbers('cpu.stat'), 'used': used}, open('/tmp/saw', 'w'))
'''
WRITE = LOOK + '''
began = time.monotonic()
with open('big', 'wb') as file:
    for _ in range(40):
        file.write(bytes(1 << 20))
    file.flush()
    os.fsync(file.fileno())
json.dump({'max': read('io.max'), 'took': time.monotonic() - began}, open('/tmp/saw', 'w'))
'''
HUNGRY = 'held = []\nwhile True: held.append(bytes(1 << 20)); held[-1][0]'


def ours():
    # They come and go meanwhile, which os.walk does not mind.
    return sorted(name for _, names, _ in os.walk(CGROUPS) for name in names if name.startswith('chaos-exec.'))


def of_runs():
    return [CGROUPS / name for name in ours() if '.run-' in name]


def members(group):
    try:
        return [int(pid) for pid in (group / 'cgroup.procs').read_text().split()]
    except OSError:
        return []


def run(*words, code=0, **more):
    shutil.rmtree('/tmp/r', ignore_errors=True)
    done = subprocess.run(['chaos-exec', *words], capture_output=True, text=True, **more)
    assert done.returncode == code, (words, done.returncode, done.stderr, done.stdout)
    return done.stderr


def scenario(name, program, **more):
    said = run('scenario', 'run', name, '--runs', '1', '--out', '/tmp/r', '--', 'python3', '-c', program, **more)
    about = json.load(open('/tmp/r/experiment.json'))['about']
    return said, about['limit'], json.load(open('/tmp/saw'))


def experiment(limit, program, code, checks='[exit codes=0]', runs=1):
    text = {'id': 'own', 'targets': [{'name': 'app', 'command': ['python3', '-c', program]}], 'limit': limit, 'runs': runs}
    Path('own.json').write_text(json.dumps(text))
    return run('experiment', 'run', 'own.json', '--out', '/tmp/r', code=code)


def memory():
    said, limit, saw = scenario('memory-pressure', TOUCH_FILE)
    assert limit == 'memory 640MB, in a cgroup' and limit in said, (limit, said)
    assert int(saw['max']) == 640 << 20 and saw['in it'] >= 2, saw
    # The pages of the file did not fit beside the load: the kernel took some back, and killed nobody.
    assert saw['events']['max'] > 0 and saw['events']['oom_kill'] == 0, saw
    return f"{saw['events']['max']} times at the border, nobody killed"


def load_goes_first():
    """A program that needs more than is left beside the load, and less than the limit."""
    program = LOOK + 'held = bytearray(300 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1\njson.dump(numbers("memory.events"), open("/tmp/saw", "w"))'
    said, _, saw = scenario('memory-pressure', program)
    assert saw['oom_kill'] > 0 and ' 0 crashes' in said, (saw, said)
    return f"{saw['oom_kill']} times the load was killed, and the program came to its end"


def cpu():
    _, limit, saw = scenario('cpu-pressure', SPIN)
    processors = os.cpu_count()
    assert saw['max'].split() == [str(processors * 50000), '100000'], saw
    assert saw['stat']['nr_throttled'] > 0, saw
    # Two threads for each processor, and only half of the machine.
    part = saw['used'] / 5 / processors
    assert 0.3 < part < 0.6, (part, saw)
    return f"{saw['stat']['nr_throttled']} times throttled, {part:.0%} of the machine used"


def disk():
    _, limit, saw = scenario('disk-pressure', WRITE)
    assert limit == 'disk 20MB/s, in a cgroup', limit
    assert f'wbps={20 << 20}' in saw['max'], saw
    # 40 MB at 20 MB/s, beside the load.
    assert saw['took'] > 1.9, saw
    os.environ['TMPDIR'] = '/tmp'
    _, limit, _ = scenario('disk-pressure', LOOK + 'json.dump({}, open("/tmp/saw", "w"))')
    assert 'not set: /tmp/' in limit and 'is on no disk of its own' in limit, limit
    os.environ['TMPDIR'] = '/disk'
    return f"40 MB took {saw['took']:.1f} s"


def too_much():
    said = experiment({'memory': '64MB'}, HUNGRY, code=122)
    assert 'crash of python3' in said and 'by the OOM killer' in said, said
    return [line for line in said.splitlines() if 'failed' in line][0]


def killed_runner():
    text = {'id': 'own', 'targets': [{'name': 'app', 'command': ['sleep', '1000']}], 'limit': {'memory': '64MB'}}
    Path('own.json').write_text(json.dumps(text))
    shutil.rmtree('/tmp/k', ignore_errors=True)
    # What would end it otherwise is killed, too: runner and launcher at once.
    runner = subprocess.Popen(['chaos-exec', 'experiment', 'run', 'own.json', '--out', '/tmp/k', '-q'])
    until('a run', lambda: of_runs() and members(of_runs()[0]))
    group = of_runs()[0]
    target = members(group)[0]
    # The next one leaves that of a living runner alone.
    experiment({'memory': '64MB'}, 'pass', code=0)
    assert group.exists() and alive(target)
    launchers = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and name_of(pid).startswith('chaos')]
    for pid in launchers:
        os.kill(pid, signal.SIGSTOP)
    for pid in launchers:
        os.kill(pid, signal.SIGKILL)
    runner.wait()
    assert group.exists()
    was_left = alive(target)
    experiment({'memory': '64MB'}, 'pass', code=0)
    assert not group.exists() and not alive(target)
    return 'the next one took its cgroup away' + (', with the target in it' if was_left else '')


def aborted():
    text = {'id': 'own', 'targets': [{'name': 'app', 'command': ['sleep', '1000']}], 'limit': {'cpu': '10%'}}
    Path('own.json').write_text(json.dumps(text))
    runner = subprocess.Popen(['chaos-exec', 'experiment', 'run', 'own.json', '--out', '/tmp/k2', '-q'])
    until('a run', of_runs)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait() == 128 + signal.SIGTERM
    return 'gone'


def handed_down():
    """A user to whom a part of the tree was given, and one to whom nothing was."""
    part = CGROUPS / 'part'
    part.mkdir()
    (CGROUPS / 'cgroup.subtree_control').write_text('+memory +cpu')
    (part / 'cgroup.subtree_control').write_text('+memory')
    (part / 'shell').mkdir()
    look = LOOK + 'json.dump({"own": own, "max": read("memory.max")}, open("/tmp/saw", "w"))'
    text = {'id': 'own', 'targets': [{'name': 'app', 'command': ['python3', '-c', look]}], 'limit': {'memory': '64MB'}}
    Path('/tmp/own.json').write_text(json.dumps(text))
    os.remove('/tmp/saw')
    os.environ['TMPDIR'] = '/tmp'

    def user(out):
        def become():
            (part / 'shell' / 'cgroup.procs').write_text(str(os.getpid()))
            os.setgroups([])
            os.setgid(1000)
            os.setuid(1000)
        env = {**os.environ, 'HOME': '/tmp', 'XDG_STATE_HOME': '/tmp/state'}
        words = ['chaos-exec', 'experiment', 'run', '/tmp/own.json', '--out', out]
        done = subprocess.run(words, preexec_fn=become, capture_output=True, text=True, cwd='/tmp', env=env)
        assert os.path.exists(out + '/experiment.json'), done
        return done.stderr, json.load(open(out + '/experiment.json'))['about']['limit']

    Path('/tmp/own.json').write_text(json.dumps({**text, 'targets': [{'name': 'app', 'command': 'true'}]}))
    said, limit = user('/tmp/u1')
    assert 'memory 64MB not set: cannot write to ' in limit, limit
    refused = limit
    for path in [part, part / 'cgroup.procs', part / 'cgroup.subtree_control']:
        os.chown(path, 1000, 1000)
    Path('/tmp/own.json').write_text(json.dumps(text))
    said, limit = user('/tmp/u2')
    assert limit == 'memory 64MB, in a cgroup', (limit, said)
    saw = json.load(open('/tmp/saw'))
    assert saw['own'].startswith(str(part) + '/chaos-exec.') and int(saw['max']) == 64 << 20, saw
    (part / 'shell').rmdir()
    part.rmdir()
    return f'given: {saw["own"]}; not given: {refused}'


def many():
    experiment({'memory': '200MB', 'cpu': '100%'}, 'import time; time.sleep(0.1)', code=0, runs=6)
    return '6 runs'


def none():
    subprocess.run(['umount', '/sys/fs/cgroup'], check=True)
    look = 'import json; json.dump({}, open("/tmp/saw", "w"))'
    said, limit, _ = scenario('memory-pressure', look)
    assert limit == 'memory 640MB not set: there is no cgroup v2 here' and limit in said, (limit, said)
    return limit


def alive(pid):
    return name_of(pid) != ''


def name_of(pid):
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return ''
    return '' if stat.rsplit(')', 1)[1].split()[0] == 'Z' else stat.split('(', 1)[1].rsplit(')', 1)[0]


def until(what, holds):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < 60, f'{what} did not come about'
        time.sleep(0.02)


# What is written there can be taken back from memory, as on any machine; what is in /tmp cannot.
os.environ['TMPDIR'] = '/disk'
failed = []
for trial in [memory, load_goes_first, cpu, disk, too_much, aborted, killed_runner, handed_down, many, none]:
    try:
        said = trial()
        left = ours()
        assert not left, f'left behind: {left}'
        print(f'{trial.__name__}: {said}', flush=True)
    except Exception as error:
        failed.append(trial.__name__)
        print(f'{trial.__name__}: WRONG: {error!r}', flush=True)
print('failed: ' + ', '.join(failed) if failed else 'all passed')
