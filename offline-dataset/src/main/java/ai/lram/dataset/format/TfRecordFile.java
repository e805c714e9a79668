package ai.lram.dataset.format;

import ai.lram.dataset.DatasetReadException;
import ai.lram.dataset.MalformedDatasetException;
import ai.lram.dataset.UnsupportedFormatException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/**
 * Reads the records of one TFRecord file in order, one in memory at a time.
 *
 * <p>A record is its length (8 bytes, little-endian), the masked CRC-32C of those 8 bytes, the payload and the masked
 * CRC-32C of the payload; both checksums are checked, and the length against the file's size before memory is taken.
 * Source: TensorFlow's API guide, "TFRecords format details".
 */
final class TfRecordFile implements AutoCloseable {
    private static final int HEADER_BYTES = Long.BYTES + Integer.BYTES;
    private static final int CHECKSUM_BYTES = Integer.BYTES;
    private static final int MASK_DELTA = 0xa282ead8;
    private static final int GZIP_MAGIC = 0x8b1f;
    private static final int MAX_PAYLOAD = Integer.MAX_VALUE - 64;

    private final Path file;
    private final FileChannel channel;
    private final long size;
    private final ByteBuffer small = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    private final CRC32C crc = new CRC32C();
    private long position;
    private long records;

    private TfRecordFile(Path file, FileChannel channel, long size) {
        this.file = file;
        this.channel = channel;
        this.size = size;
    }

    static TfRecordFile open(Path file) {
        if (!Files.isRegularFile(file)) {
            throw new DatasetReadException(
                    "TFRecord file " + file + " is missing", "no such file", "copy the data set completely");
        }
        try {
            long size = Files.size(file);
            return new TfRecordFile(file, FileChannel.open(file, StandardOpenOption.READ), size);
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /** Records delivered so far. */
    long records() {
        return records;
    }

    /** The next record's payload, or null at the end of the file. */
    byte[] next() {
        if (position == size) {
            return null;
        }
        if (size - position < HEADER_BYTES) {
            throw malformed("ends within a record's header", (size - position) + " bytes follow the last record");
        }
        fill(small.clear());
        small.flip();
        long length = small.getLong();
        int lengthChecksum = small.getInt();
        if (masked(small.array(), Long.BYTES) != lengthChecksum) {
            if (position == 0 && (length & 0xffff) == GZIP_MAGIC) {
                throw new UnsupportedFormatException(
                        "TFRecord file " + file + " was not read",
                        "it is compressed with gzip",
                        "decompress it with gunzip, keeping its name");
            }
            throw malformed("has a damaged record header", "the checksum of the record's length does not fit");
        }
        long left = size - position - HEADER_BYTES;
        if (Long.compareUnsigned(length, left) > 0 || length + CHECKSUM_BYTES > left) {
            throw malformed(
                    "ends within a record",
                    "its header promises " + Long.toUnsignedString(length) + " bytes and a checksum, " + left
                            + " bytes are left");
        }
        if (length > MAX_PAYLOAD) {
            throw new UnsupportedFormatException(
                    "TFRecord file " + file + ": record " + records + " is too long",
                    "its " + length + " bytes exceed " + MAX_PAYLOAD,
                    "cut the episode");
        }
        position += HEADER_BYTES;
        byte[] payload = new byte[(int) length];
        fill(ByteBuffer.wrap(payload));
        position += length;
        fill(small.clear().limit(CHECKSUM_BYTES));
        if (masked(payload, payload.length) != small.flip().getInt()) {
            throw malformed("holds a damaged record", "the checksum of its " + length + " bytes does not fit");
        }
        position += CHECKSUM_BYTES;
        records++;
        return payload;
    }

    private void fill(ByteBuffer target) {
        try {
            while (target.hasRemaining()) {
                if (channel.read(target) < 0) {
                    throw malformed("became shorter while it was read", "it had " + size + " bytes");
                }
            }
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /** The checksum as it is stored: rotated and shifted, so that a checksum over data with checksums stays useful. */
    private int masked(byte[] bytes, int count) {
        crc.reset();
        crc.update(bytes, 0, count);
        return Integer.rotateRight((int) crc.getValue(), 15) + MASK_DELTA;
    }

    private MalformedDatasetException malformed(String what, String why) {
        return new MalformedDatasetException(
                "TFRecord file " + file + ", record " + records + " at byte " + position + ": " + what,
                why,
                "restore the file from its source");
    }

    private static DatasetReadException unreadable(Path file, IOException e) {
        return new DatasetReadException(
                "TFRecord file " + file + " cannot be read",
                e.getClass().getSimpleName() + ": " + e.getMessage(),
                "check permissions and the device",
                e);
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }
}
