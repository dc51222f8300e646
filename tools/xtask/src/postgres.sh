# What the PostgreSQL run does in the kernel's shell: functions that the scripts of postgres.rs call under `sh -e`.
#
# Everything lies below /mnt, a tmpfs of the run's own. `data` and `wal` are the primary's volumes, `data-copy` and
# `wal-copy` the two copies on trial; a server's cluster is in its data volume and its WAL in its WAL volume.

# The newest version that there is.
for server in /usr/lib/postgresql/*/bin/postgres; do PATH=${server%/*}:$PATH; done
PRIMARY=5432
COPY=5433
export PATH HOME=/mnt TZ=UTC LC_ALL=C PGHOST=/mnt PGUSER=postgres PGDATABASE=bank

# The load takes all the time of the guest's one processor that the checks leave, and some of theirs.
BEHIND='nice -n 15'

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }

# query PORT SQL
query() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -p "$1" -c "$2"; }

make_places() {
    mount -t tmpfs -o mode=755 tmpfs /mnt
    mkdir /mnt/data /mnt/wal /mnt/data-copy /mnt/wal-copy
    chown postgres: /mnt
}

# make_file_system DEVICE PLACE
make_file_system() {
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$1"
    mount "$1" "/mnt/$2"
    chown postgres: "/mnt/$2"
}

# Small WAL, so that checkpoints go on all the time; checksums, so that a torn page is found when it is read.
make_cluster() {
    as_postgres initdb --username=postgres --pgdata=/mnt/data/cluster --waldir=/mnt/wal/segments \
        --wal-segsize=1 --data-checksums --locale=C --encoding=UTF8 >/mnt/initdb.log 2>&1 ||
        { cat /mnt/initdb.log; return 1; }
    cat >>/mnt/data/cluster/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '/mnt'
max_connections = 20
shared_buffers = 16MB
min_wal_size = 2MB
max_wal_size = 8MB
checkpoint_timeout = 30s
checkpoint_warning = 0
recovery_init_sync_method = syncfs
END
    sync -f /mnt/data
    start_server data $PRIMARY $BEHIND
}

# start_server PLACE PORT [PROGRAM...]: returns when it takes connections.
start_server() {
    place=$1 port=$2
    shift 2
    as_postgres "$@" pg_ctl start --silent --wait --timeout=60 --pgdata="/mnt/$place/cluster" \
        --log="/mnt/$place.log" --options="-p $port" || { cat "/mnt/$place.log"; return 1; }
}

# fill SCALE: the tables of pgbench, and one in which the numbers of acknowledged commits are kept.
fill() {
    as_postgres createdb -p $PRIMARY bank
    as_postgres pgbench --initialize --quiet --scale="$1" -p $PRIMARY 2>&1
    query $PRIMARY 'CREATE EXTENSION amcheck; CREATE TABLE ledger (entry bigserial PRIMARY KEY)'
}

# Writes that depend on each other: a number goes to the WAL's volume and, when it is durable there, to that of the
# data, and then the next number. So at every moment the two are equal, or the first is one ahead.
MARKS='
    use Fcntl;
    sub place { sysopen(my $file, "/mnt/$_[0]/mark", O_WRONLY | O_CREAT | O_DSYNC) or die "$_[0]: $!"; $file }
    my @places = (place("wal"), place("data"));
    for (my $number = 1; !-e "/mnt/marks.stop"; $number++) {
        for my $place (@places) {
            sysseek($place, 0, 0);
            syswrite($place, sprintf("%012d\n", $number)) or die "mark $number: $!";
        }
    }'

# pgbench, and beside it a client that writes each number down when the server has acknowledged its commit.
start_load() {
    (as_postgres $BEHIND pgbench --no-vacuum --client=4 --time=3600 -p $PRIMARY >/mnt/pgbench.log 2>&1 || :
        touch /mnt/pgbench.ended) &
    (yes 'INSERT INTO ledger DEFAULT VALUES RETURNING entry;' |
        as_postgres $BEHIND psql -XAtq -v ON_ERROR_STOP=1 -p $PRIMARY >/mnt/acknowledged 2>/mnt/ledger.log || :
        touch /mnt/ledger.ended) &
    ($BEHIND perl -e "$MARKS" >/mnt/marks.log 2>&1 || :
        touch /mnt/marks.ended) &
    while [ ! -s /mnt/acknowledged ] || [ ! -s /mnt/data/mark ] ||
        [ "$(query $PRIMARY 'SELECT count(*) FROM pgbench_history')" = 0 ]; do
        load_goes_on
        sleep 0.05
    done
}

# Fails when a client has ended: all would go on for an hour.
load_goes_on() {
    for client in pgbench ledger marks; do
        [ ! -e /mnt/$client.ended ] || { cat /mnt/$client.log /mnt/data.log; return 1; }
    done
}

# Ends the clients by ending their connections.
stop_load() {
    touch /mnt/marks.stop
    query $PRIMARY "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name IN ('pgbench', 'psql') AND pid <> pg_backend_pid()"
    for client in pgbench ledger marks; do
        while [ ! -e /mnt/$client.ended ]; do sleep 0.05; done
    done
}

# The highest number whose commit has been acknowledged.
acknowledged() { tail -n 1 /mnt/acknowledged; }

# wait_for_load COMMITS: until so many more have been acknowledged.
wait_for_load() {
    goal=$(($(acknowledged) + $1))
    while [ "$(acknowledged)" -lt "$goal" ]; do
        load_goes_on
        sleep 0.1
    done
}

# mount_copy DATA-DEVICE WAL-DEVICE. The copied cluster names the primary's process and the primary's WAL: both
# would lead it to the primary.
mount_copy() {
    mount "$1" /mnt/data-copy
    mount "$2" /mnt/wal-copy
    rm /mnt/data-copy/cluster/postmaster.pid
    as_postgres ln -sfn /mnt/wal-copy/segments /mnt/data-copy/cluster/pg_wal
    rm -f /mnt/data-copy.log
}

# Starts the second server; fails unless it had to replay WAL.
recover_copy() {
    start_server data-copy $COPY
    grep -q 'redo done' /mnt/data-copy.log || { cat /mnt/data-copy.log; return 1; }
}

# sums PORT [SUFFIX]: balances of accounts, branches, tellers and history, transactions, the ledger's count and
# maximum, and the marks on the volume of the WAL and on that of the data.
sums() {
    printf '%s|%s|%s\n' "$(query_sums "$1")" "$(cat "/mnt/wal$2/mark")" "$(cat "/mnt/data$2/mark")"
}

query_sums() {
    query "$1" "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
        (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
        (SELECT count(*) FROM pgbench_history), (SELECT count(*) FROM ledger),
        (SELECT coalesce(max(entry), 0) FROM ledger)"
}

# check_structure PORT: all tables and all indexes, each index against its table.
check_structure() { as_postgres pg_amcheck --heapallindexed -p "$1" --database=bank 2>&1; }

# stop_server PLACE MODE: its process is waited for, since it stays in its folder until it is gone.
stop_server() {
    process=$(head -n 1 "/mnt/$1/cluster/postmaster.pid")
    as_postgres pg_ctl stop --silent --mode="$2" --pgdata="/mnt/$1/cluster"
    while kill -0 "$process" 2>/dev/null; do sleep 0.02; done
}

# drop_copy DATA-DEVICE WAL-DEVICE
drop_copy() {
    stop_server data-copy immediate
    umount /mnt/data-copy /mnt/wal-copy
    nbd-client -d "$1"
    nbd-client -d "$2"
}

stop_primary() {
    stop_server data fast
    umount /mnt/data /mnt/wal
}
