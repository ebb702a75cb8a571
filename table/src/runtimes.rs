//! Language runtimes whose boot is not the user's program, and what `protect: default` leaves alone.

/// A language runtime.
#[derive(Debug)]
pub struct Runtime {
    /// What `list runtimes` calls it.
    pub name: &'static str,
    /// Globs on the last component of a program's path.
    pub programs: &'static [&'static str],
    /// Globs on the paths of its installed code.
    pub protects: &'static [&'static str],
}

/// The runtimes that are known. Installed code only: a project's own `node_modules`, virtual environment or vendored
/// gems count as the user's program when they lie below the working directory, which is never protected.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "python",
        programs: &["python", "python[0-9]*", "pypy", "pypy[0-9]*", "ipython", "ipython[0-9]*"],
        protects: &[
            "/**/lib{,64}/{python,pypy}[0-9]*/**",
            "/**/__pycache__/**",
            // What the interpreter looks for to find its own place.
            "/**/{pyvenv.cfg,python*._pth,python[0-9]*.zip}",
        ],
    },
    Runtime {
        name: "node",
        programs: &["node", "nodejs", "npm", "npx"],
        protects: &["/usr{,/local}/{lib,share}/{node_modules,nodejs}/**", "/**/lib/node_modules/**"],
    },
    Runtime { name: "deno", programs: &["deno"], protects: &["/**/.cache/deno/**"] },
    Runtime { name: "bun", programs: &["bun", "bunx"], protects: &["/**/.bun/install/**"] },
    Runtime {
        name: "java",
        programs: &["java", "javac", "jshell"],
        protects: &[
            "/usr/lib/jvm/**",
            "/etc/java-*/**",
            "/usr/share/java/**",
            "/**/lib/modules",
            "/**/.sdkman/**",
            "/tmp/hsperfdata_*{,/**}",
        ],
    },
    Runtime {
        name: "ruby",
        programs: &["ruby", "ruby[0-9]*", "irb", "rake", "bundle", "bundler"],
        protects: &["/**/lib/ruby/**", "/var/lib/gems/**", "/usr/share/rubygems-integration/**", "/usr/share/ruby/**"],
    },
    Runtime {
        name: "perl",
        programs: &["perl", "perl[0-9]*"],
        protects: &["/etc/perl/**", "/usr{,/local}/{lib,share}/perl{,5}/**", "/usr{,/local}/lib/*/perl{,-base,5}/**"],
    },
    Runtime {
        name: "php",
        programs: &["php", "php[0-9]*", "php-fpm*"],
        protects: &["/etc/php/**", "/usr/{lib,share}/php/**"],
    },
    Runtime {
        name: "r",
        programs: &["R", "Rscript"],
        protects: &["/**/lib{,64}/R/**", "/etc/R/**", "/usr/share/R/**", "/usr/local/lib/R/**"],
    },
    Runtime {
        name: "lua",
        programs: &["lua", "lua[0-9]*", "luajit*"],
        protects: &["/usr{,/local}/{lib,share}/lua/**"],
    },
    Runtime { name: "dotnet", programs: &["dotnet"], protects: &["/usr/{lib,share}/dotnet/**", "/**/.dotnet/**"] },
];

/// What `protect: default` leaves alone beside the runtimes' code: the kernel's windows, devices, the loader's files
/// and shared objects, and what libc reads by itself.
pub const DEFAULT_PROTECT: &[&str] = &[
    "/{proc,sys,dev}/**",
    "/etc/ld.so.*",
    "/etc/ld.so.conf.d/**",
    "/**/*.so",
    "/**/*.so.*",
    "/etc/{nsswitch.conf,localtime,locale.alias,gai.conf,host.conf}",
    "/{etc,usr/lib}/ssl/openssl.cnf",
    "/usr/lib/locale/**",
    "/usr/lib/*/gconv/**",
    "/usr/share/{locale,locale-langpack,zoneinfo,i18n}/**",
];

/// The first bytes of the programs' names, as bits. No name begins with a wildcard, and all are ASCII.
const FIRST_BYTES: u128 = {
    let (mut bits, mut runtime) = (0u128, 0);
    while runtime < RUNTIMES.len() {
        let mut program = 0;
        while program < RUNTIMES[runtime].programs.len() {
            let first = RUNTIMES[runtime].programs[program].as_bytes()[0];
            assert!(first.is_ascii_alphabetic());
            bits |= 1 << first;
            program += 1;
        }
        runtime += 1;
    }
    bits
};

/// The runtime that a program is, by the last component of its path.
#[must_use]
pub fn of_program(basename: &[u8]) -> Option<&'static Runtime> {
    // Asked in every process at its start: most names are ruled out by their first byte, without a look at the globs,
    // which lie on a page that nothing else needs there; others by the letters before the first wildcard.
    let first = basename.first().copied().unwrap_or(0);
    if FIRST_BYTES.checked_shr(first.into()).is_none_or(|bits| bits & 1 == 0) {
        return None;
    }
    let may_match = |glob: &str| {
        let fixed = glob.bytes().zip(basename).take_while(|(a, b)| a == *b).count();
        glob.as_bytes().get(fixed).is_none_or(|next| b"*?[{".contains(next))
    };
    let is_one = |runtime: &&Runtime| {
        runtime.programs.iter().any(|glob| may_match(glob) && fast_glob::glob_match(glob, basename))
    };
    RUNTIMES.iter().find(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protected(path: &str) -> bool {
        let all = RUNTIMES.iter().flat_map(|runtime| runtime.protects).chain(DEFAULT_PROTECT);
        all.into_iter().any(|glob| fast_glob::glob_match(glob, path))
    }

    #[test]
    fn every_glob_is_well_formed() {
        for runtime in RUNTIMES {
            for glob in runtime.programs.iter().chain(runtime.protects) {
                assert_eq!(fast_glob::validate(glob), Ok(()), "{glob}");
            }
        }
        for glob in DEFAULT_PROTECT {
            assert_eq!(fast_glob::validate(glob), Ok(()), "{glob}");
        }
    }

    #[test]
    fn programs_are_known_by_their_names() {
        let name = |program: &str| of_program(program.as_bytes()).map(|runtime| runtime.name);
        for (program, runtime) in [
            ("python3", "python"),
            ("python3.11", "python"),
            ("python", "python"),
            ("node", "node"),
            ("java", "java"),
            ("ruby3.1", "ruby"),
            ("perl", "perl"),
            ("deno", "deno"),
            ("bun", "bun"),
            ("php8.2", "php"),
            ("R", "r"),
        ] {
            assert_eq!(name(program), Some(runtime), "{program}");
        }
        for program in ["cat", "python-config", "javascript", "nodetool", "", "\u{e9}", "\0", "\x7f"] {
            assert_eq!(name(program), None, "{program}");
        }
    }

    #[test]
    fn installed_code_is_protected_and_data_is_not() {
        for path in [
            "/proc/self/maps",
            "/dev/urandom",
            "/sys/fs/cgroup/cpu.max",
            "/etc/ld.so.cache",
            "/usr/lib/locale/locale-archive",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/python3.11/os.py",
            "/usr/local/lib/python3.12/site-packages/a.py",
            "/root/.pyenv/versions/3.12.1/lib/python3.12/json/__init__.py",
            "/usr/share/nodejs/npm/index.js",
            "/usr/lib/jvm/java-17-openjdk-amd64/lib/modules",
            "/usr/lib/ruby/3.1.0/set.rb",
            "/usr/share/perl/5.36.0/strict.pm",
            "/usr/lib/x86_64-linux-gnu/perl-base/strict.pm",
            "/usr/share/zoneinfo/UTC",
        ] {
            assert!(protected(path), "{path}");
        }
        for path in [
            "/home/me/agent.py",
            "/srv/app/node_modules/express/index.js",
            "/tmp/data.json",
            "/var/lib/app/db.sqlite",
            "/etc/passwd",
            "/etc/hosts",
            "/home/me/lib/data.txt",
            "/home/me/notes.social",
        ] {
            assert!(!protected(path), "{path}");
        }
    }
}
