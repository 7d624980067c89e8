# Watches over a throw-away directory: once its owner is gone, ends the server in it, and removes it.
#
# $1: the directory. Standard input: a pipe whose other end the owner alone holds, so that its end is the owner's, however
# that went. A line on it means that nothing is left to do. Standard output: the directory's lock, so that nobody else
# takes the directory over meanwhile.

# Whoever ends a whole group of processes means the owner; the watcher goes when it has done its work.
trap '' HUP INT QUIT TERM PIPE
read -r dismissed && exit 0

PATH=$PATH:/usr/bin:/bin:/usr/sbin:/sbin
name=${1##*/}
data=$1/data
# Nothing but what driftlock makes is ever removed.
case $name in driftlock-??????????) ;; *) exit 2 ;; esac

# Lists the programs of PostgreSQL's on this machine: number, group, and command line.
programs() {
    if [ -e /proc/self/cmdline ]; then
        # Nothing but the shell itself: it is asked many times, and the machine may be busy.
        for entry in /proc/[0-9]*; do
            program=
            read -r program < "$entry/comm"
            case $program in postgres | initdb) ;; *) continue ;; esac
            stat=
            read -r stat < "$entry/stat"
            # After the program's name in brackets come the state, the parent and the group.
            stat=${stat##*) }
            stat=${stat#* }
            stat=${stat#* }
            line=
            # There is no end of line in it; an ended process has none at all.
            read -r line < "$entry/cmdline"
            seen "${entry#/proc/}" "${stat%% *}" "$line"
        done
    else
        # Systems without /proc (macOS) have ps.
        while read -r pid group program line; do
            case ${program##*/} in postgres | postgres: | initdb) seen "$pid" "$group" "$program $line" ;; esac
        done <<END
$(ps -axww -o pid=,pgid=,command=)
END
    fi
}

seen() {
    case $3 in
    *"$name"*) pids="$pids $1" ;;
    *) others="$others $1:$2" ;;
    esac
}

# Looks for the server's processes. Their command lines, which everybody may read, all have the directory's random name:
# the postmaster's and initdb's in an argument, the others' because it is their cluster_name. What initdb starts is in
# its group.
alive() {
    pids=
    others=
    programs
    for other in $others; do
        case " $pids " in *" ${other#*:} "*) pids="$pids ${other%:*}" ;; esac
    done
    [ -n "$pids" ]
}

# The control segment, as it was noted when the server was ready.
noted=$(cat "$1/segments")
segments=$noted
if alive; then
    # Of what runs, the maps tell which of the segments in /dev/shm are the server's.
    segments="$segments "$(for pid in $pids; do grep -hos '/dev/shm/PostgreSQL\.[0-9]*' "/proc/$pid/maps"; done)
    postmaster=
    read -r postmaster < "$data/postmaster.pid"
    case " $pids " in
    *" $postmaster "*)
        # PostgreSQL's immediate shutdown: nobody will read the data again, but shared memory is cleaned up.
        kill -s QUIT "$postmaster"
        # Who is stopped does not hear of it.
        for pid in $pids; do kill -s CONT "$pid"; done
        tries=20
        while [ $tries -gt 0 ] && alive; do
            sleep 0.05
            tries=$((tries - 1))
        done
        ;;
    esac
    tries=60
    while [ $tries -gt 0 ] && alive; do
        # Each of them leads a group, with what it has started itself.
        for pid in $pids; do kill -s KILL -- "-$pid" || kill -s KILL "$pid"; done
        sleep 0.05
        tries=$((tries - 1))
    done
    # The next start's sweep tries again.
    alive && exit 1
fi

# What a postmaster removes itself, unless it was killed. The control segment lists the numbers of the others, among
# smaller ones, in a form that differs between versions.
for control in $noted; do
    for number in $(od -An -v -tu4 "$control" | tr -s ' ' '\n' | sort -u); do
        [ -e "/dev/shm/PostgreSQL.$number" ] && segments="$segments /dev/shm/PostgreSQL.$number"
    done
done
if [ -e "$data/postmaster.pid" ]; then
    {
        read -r creator
        for line in directory start port socket address; do read -r line; done
        read -r key segment
    } < "$data/postmaster.pid"
    while read -r key number mode bytes by last attached rest; do
        [ "$number" = "$segment" ] && [ "$by" = "${creator#-}" ] && [ "$attached" = 0 ] && ipcrm -m "$segment"
    done < /proc/sysvipc/shm
fi
for segment in $segments; do
    case $segment in /dev/shm/PostgreSQL.*) rm -f -- "$segment" ;; esac
done

# A process that is just dying may put a last file where rm has been already.
tries=10
until rm -rf -- "$1"; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || exit 1
    sleep 0.1
done
