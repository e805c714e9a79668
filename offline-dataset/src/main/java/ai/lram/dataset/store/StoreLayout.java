package ai.lram.dataset.store;

import ai.lram.dataset.Column;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** Names and numbers of the store's files; what the writer writes and the reader expects. */
final class StoreLayout {
    static final String FORMAT = "lram-trajectory-store";
    static final int VERSION = 1;
    static final String MANIFEST = "manifest.json";
    static final String INDEX = "index.bin";
    static final String CHECKSUMS = "checksums.bin";
    static final String LOCK = ".lock";

    static final long INDEX_MAGIC = 0x3149_5845_4d41_524cL; // "LRAMEXI1"
    static final long CHECKSUM_MAGIC = 0x3143_5243_4d41_524cL; // "LRAMCRC1"
    static final int BLOCK_BYTES = 1 << 20;

    static final int INDEX_HEADER_BYTES = 32;
    static final int RECORD_BYTES = 40;
    static final int RECORD_TASK = 0;
    static final int RECORD_LENGTH = 4;
    static final int RECORD_FIRST_ROW = 8;
    static final int RECORD_RETURN = 16;
    static final int RECORD_SOURCE_EPISODE = 24;
    static final int RECORD_SOURCE = 32;

    static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private StoreLayout() {}

    static String columnFile(int task, Column column) {
        return "task%05d.%s.%s".formatted(task, column.key(), column.elementBytes() == 1 ? "u8" : "f32");
    }

    static long blocks(long bytes) {
        return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    }
}
