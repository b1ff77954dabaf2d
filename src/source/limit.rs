//! How much memory the process may have, by its control groups, its resource limits and the
//! machine.
//!
//! A control group's limit holds for all groups below it, so the files of each group, from
//! the process's own up to the root, are read. Where a container shows its own group as the
//! root, the groups that `/proc/self/cgroup` names may not be there; the files of the root
//! then have the container's limit. A limit that cannot be read counts as none.

/// Bytes of memory that this process may have: the smallest limit that was found.
pub fn system_limit() -> usize {
    let limits = [groups::limit("/"), super::system::resource_limit(), super::system::physical()];
    limits.into_iter().fold(usize::MAX, usize::min)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod groups {
    use std::fs::File;
    use std::io::Read;

    /// The longest file that is read, and the longest path, in bytes.
    const LONGEST: usize = 4096;

    /// The paths at which version 2 of the groups is mounted: alone, or beside version 1.
    const UNIFIED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    /// The path of version 1's memory controller.
    const MEMORY: &str = "/sys/fs/cgroup/memory";

    /// The limit of the process's groups, of both versions; `root` is the path of the
    /// system's root directory. It allocates nothing, so no expert is charged for it.
    pub fn limit(root: &str) -> usize {
        let (mut text, mut place) = ([0; LONGEST], [0; LONGEST]);
        let list =
            join(&mut place, &[root, "/proc/self/cgroup"]).and_then(|path| read(path, &mut text));
        let groups = list.unwrap_or_default().lines().filter_map(group);
        groups.map(|(version, group)| limit_of(root, version, group)).min().unwrap_or(usize::MAX)
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Version {
        One,
        Two,
    }

    /// The memory controller's group in a line of `/proc/self/cgroup`: a number, the
    /// controllers (none in version 2) and the group, between colons.
    fn group(line: &str) -> Option<(Version, &str)> {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match controllers {
            "" => Version::Two,
            _ if controllers.split(',').any(|controller| controller == "memory") => Version::One,
            _ => return None,
        };
        Some((version, group))
    }

    /// The smallest limit of `group` and all groups above it.
    fn limit_of(root: &str, version: Version, group: &str) -> usize {
        let ups = core::iter::successors(Some(group.trim_end_matches('/')), |group| {
            group.rfind('/').map(|end| &group[..end])
        });
        let of = |group: &str| match version {
            Version::One => number(&[root, MEMORY, group, "/memory.limit_in_bytes"]),
            Version::Two => UNIFIED
                .iter()
                .filter_map(|mount| number(&[root, mount, group, "/memory.max"]))
                .min(),
        };
        // A group with `..` in it lies outside of what is mounted here.
        ups.filter(|group| !group.contains("..")).filter_map(of).min().unwrap_or(usize::MAX)
    }

    /// The number in a file; `None` if there is none, as in a file that says `max`.
    fn number(path: &[&str]) -> Option<usize> {
        let (mut text, mut place) = ([0; 64], [0; LONGEST]);
        let text = read(join(&mut place, path)?, &mut text)?;
        let bytes: u64 = text.trim().parse().ok()?;
        // A limit beyond the address space is no limit.
        usize::try_from(bytes).ok()
    }

    fn join<'p>(place: &'p mut [u8], parts: &[&str]) -> Option<&'p str> {
        let mut end = 0;
        for part in parts {
            place.get_mut(end..end + part.len())?.copy_from_slice(part.as_bytes());
            end += part.len();
        }
        core::str::from_utf8(&place[..end]).ok()
    }

    /// The first lines of a file, as many whole ones as fit.
    fn read<'t>(path: &str, text: &'t mut [u8]) -> Option<&'t str> {
        let mut file = File::open(path).ok()?;
        let mut end = 0;
        while end < text.len() {
            match file.read(&mut text[end..]).ok()? {
                0 => break,
                more => end += more,
            }
        }
        let whole = if end < text.len() { end } else { text.iter().rposition(|&c| c == b'\n')? };
        core::str::from_utf8(&text[..whole]).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        use std::fs;
        use std::path::PathBuf;
        use std::string::{String, ToString};

        /// A root directory of this test's own.
        struct Root(PathBuf);

        impl Root {
            fn new(name: &str, files: &[(&str, &str)]) -> Self {
                let this = format!("expert-alloc-{}-{name}", std::process::id());
                let root = Self(std::env::temp_dir().join(this));
                for (path, text) in files {
                    let path = root.0.join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, text).unwrap();
                }
                root
            }

            fn limit(&self) -> usize {
                limit(self.0.to_str().unwrap())
            }
        }

        impl Drop for Root {
            fn drop(&mut self) {
                let _ = fs::remove_dir_all(&self.0);
            }
        }

        #[test]
        fn version_two_is_asked_up_to_its_root() {
            let root = Root::new(
                "two",
                &[
                    ("proc/self/cgroup", "0::/app.slice/web/worker\n"),
                    ("sys/fs/cgroup/app.slice/web/worker/memory.max", "max\n"),
                    ("sys/fs/cgroup/app.slice/web/memory.max", "536870912\n"),
                    ("sys/fs/cgroup/app.slice/memory.max", "1073741824\n"),
                    ("sys/fs/cgroup/other/memory.max", "1\n"),
                ],
            );
            assert_eq!(root.limit(), 512 << 20);
        }

        #[test]
        fn in_a_container_the_root_has_the_limit() {
            let root = Root::new(
                "container",
                &[
                    ("proc/self/cgroup", "0::/docker/4711\n"),
                    ("sys/fs/cgroup/memory.max", "268435456\n"),
                ],
            );
            assert_eq!(root.limit(), 256 << 20);
            let shown = Root::new(
                "namespace",
                &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "268435456\n")],
            );
            assert_eq!(shown.limit(), 256 << 20);
        }

        #[test]
        fn version_one_has_its_memory_controller() {
            let root = Root::new(
                "one",
                &[
                    (
                        "proc/self/cgroup",
                        "5:cpu,cpuacct:/small\n4:memory,hugetlb:/jobs/one\n0::/\n",
                    ),
                    (
                        "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                    ("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "100000000\n"),
                    ("sys/fs/cgroup/memory/small/memory.limit_in_bytes", "1\n"),
                ],
            );
            assert_eq!(root.limit(), 100_000_000);
        }

        #[test]
        fn what_cannot_be_read_limits_nothing() {
            assert_eq!(limit("/nowhere/at/all"), usize::MAX);
            let files = [
                ("proc/self/cgroup", "nonsense\n0::/../../x\n::\n3:memory:/a\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "a lot\n"),
            ];
            assert_eq!(Root::new("odd", &files).limit(), usize::MAX);
        }

        #[test]
        fn a_list_that_is_too_long_is_read_to_its_last_whole_line() {
            let mut list = String::new();
            (0..400).for_each(|number| list += &(number.to_string() + ":cpu:/long/enough\n"));
            let list = "0::/deep\n".to_string() + &list;
            let files = [
                ("proc/self/cgroup", list.as_str()),
                ("sys/fs/cgroup/unified/deep/memory.max", "4096\n"),
            ];
            assert_eq!(Root::new("long", &files).limit(), 4096);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod groups {
    /// Always no limit, because this system has no control groups.
    pub fn limit(_: &str) -> usize {
        usize::MAX
    }
}
