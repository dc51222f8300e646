# What the measurement does in the guest's shell: functions that the scripts of guest/mod.rs call under `sh -e`.
#
# Every contender has a name, which is also the folder that its file system is mounted on, and SECTORS (of 512 bytes) of
# volume. Those of the device mapper have a disk as well, cut as LVM would cut it; their devices are /dev/mapper/NAME and
# /dev/mapper/NAME-copy.

# There is no udev in the guest: dmsetup makes the devices' nodes itself, and waits for nobody.
export DM_DISABLE_UDEV=1

# LVM's defaults: 64 KiB for a thin pool, 4 KiB for a snapshot that is to outlast a crash (P).
THIN_CHUNK=128
SNAPSHOT_CHUNK=8
# 64 MiB for the metadata of a thin pool.
THIN_META=131072

# load MODULE: what it depends on first.
load() {
    folder=/usr/lib/uml/modules/$(uname -r)
    for file in $(grep "/$1.ko:" "$folder/modules.dep" | tr -d : | tr ' ' '\n' | tac); do
        name=$(basename "$file" .ko | tr - _)
        [ -e "/sys/module/$name" ] || busybox insmod "$folder/$file"
    done
}

# slice NAME DISK FIRST SECTORS
slice() { dmsetup create "$1" --table "0 $4 linear $2 $3"; }

# Says that there is nothing yet on it, to what keeps its own metadata there.
begin_anew() { dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct 2>/dev/null; }

# thin_make NAME DISK SECTORS: room for a copy of every chunk.
thin_make() {
    slice "$1-meta" "$2" 0 $THIN_META
    slice "$1-data" "$2" $THIN_META $(($3 * 2))
    begin_anew "/dev/mapper/$1-meta"
    dmsetup create "$1-pool" --table \
        "0 $(($3 * 2)) thin-pool /dev/mapper/$1-meta /dev/mapper/$1-data $THIN_CHUNK 0"
    dmsetup message "$1-pool" 0 "create_thin 0"
    dmsetup create "$1" --table "0 $3 thin /dev/mapper/$1-pool 0"
}

# thin_take NAME DISK SECTORS: not active until it is looked at, as with LVM.
thin_take() {
    dmsetup suspend "$1"
    dmsetup message "$1-pool" 0 "create_snap 1 0"
    dmsetup resume "$1"
}

thin_open() { dmsetup create "$1-copy" --table "0 $3 thin /dev/mapper/$1-pool 1"; }

thin_end() {
    dmsetup remove "$1-copy"
    dmsetup message "$1-pool" 0 "delete 1"
}

# snapshot_make NAME DISK SECTORS: a quarter of the volume for the copy, four times what the workload changes.
snapshot_make() {
    slice "$1-real" "$2" 0 "$3"
    slice "$1-room" "$2" "$3" $(($3 / 4))
    slice "$1" "$2" 0 "$3"
}

# snapshot_take NAME DISK SECTORS: the origin is a plain slice while there is no copy.
snapshot_take() {
    begin_anew "/dev/mapper/$1-room"
    dmsetup suspend "$1"
    dmsetup load "$1" --table "0 $3 snapshot-origin /dev/mapper/$1-real"
    dmsetup create "$1-copy" --table \
        "0 $3 snapshot /dev/mapper/$1-real /dev/mapper/$1-room P $SNAPSHOT_CHUNK"
    dmsetup resume "$1"
}

snapshot_open() { :; }

snapshot_end() {
    dmsetup suspend "$1"
    dmsetup remove "$1-copy"
    dmsetup load "$1" --table "0 $3 linear $2 0"
    dmsetup resume "$1"
}

# lay_out NAME DEVICE MEBIBYTES PATTERN: ext4 with one file that has all its blocks.
lay_out() {
    # Without lazy initialisation, which would go on beside the measurement.
    mkfs.ext4 -F -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$2"
    mkdir -p "$1" copy
    mount "$2" "$1"
    fio --name=load --filename="$1/load" --size="$3m" --rw=write --bs=1m --direct=1 --ioengine=libaio \
        --iodepth=4 --end_fsync=1 --buffer_pattern="$4" --eta=never --output="$1.log"
    sync -f "$1"
}

# first_writes NAME ORDER PATTERN: writes the blocks that the file ORDER lists, and prints what fio measured.
first_writes() (
    cd "$1"
    fio --name=first-writes --output-format=json --ioengine=libaio --direct=1 --iodepth=32 \
        --read_iolog="$2" --end_fsync=1 --buffer_pattern="$3" --eta=never
)

# block NAME NUMBER: the different words in that block of the file.
block() {
    dd if="$1/load" bs=4k skip="$2" count=1 iflag=direct 2>/dev/null |
        od -An -v -tx4 --endian=big | tr -s ' ' '\n' | sed '/^$/d' | sort -u | tr '\n' ' '
}

# look NAME COPY-DEVICE NUMBER...: words of those blocks in the copy, a line, and of those in the volume.
look() {
    name=$1
    mount -o ro "$2" copy
    shift 2
    for place in copy "$name"; do
        for number in "$@"; do block $place "$number"; done
        echo
    done
    umount copy
}
