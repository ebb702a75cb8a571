# A repository made, packed, cloned, checked: fork, exec, pipes, files renamed into place. Prints `case NAME: OUTCOME`.
set -eu
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main one
for n in $(seq 300); do seq "$n" $((n * 7)) > "one/file-$n"; done
git -C one add .
git -C one commit -q -m first
for n in $(seq 5 5 300); do echo "more $n" >> "one/file-$n"; done
git -C one commit -q -a -m second
echo "case head: $(git -C one rev-parse HEAD)"
git -C one gc -q
git clone -q --no-local one two
git -C two switch -q -c side HEAD~1
seq 1000 > two/file-1
git -C two commit -q -a -m third
git -C two rebase -q main
git -C two push -q origin side
echo "case side: $(git -C one rev-parse side)"
echo "case objects: $(git -C one rev-list --all --objects | sort | cksum)"
git -C one fsck --strict > fsck 2>&1
echo "case fsck: $? $(cat fsck)"
echo "case archive: $(git -C two archive HEAD | tar -t | wc -l)"
echo "case log: $(git -C two log --stat --format=%H | cksum)"
