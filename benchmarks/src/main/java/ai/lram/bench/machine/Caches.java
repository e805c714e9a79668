package ai.lram.bench.machine;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Sizes of the processor's caches.
 *
 * @param l2Bytes of one core
 * @param l3Bytes of all cores that share it, as far as this system shows it
 * @param known false where the system does not say and usual sizes stand in
 */
public record Caches(long l2Bytes, long l3Bytes, boolean known) {
    private static final Path FOLDER = Path.of("/sys/devices/system/cpu/cpu0/cache");
    private static final Caches USUAL = new Caches(1L << 20, 32L << 20, false);

    /** As Linux tells. */
    public static Caches here() {
        long[] byLevel = new long[4];
        for (int i = 0; Files.isReadable(FOLDER.resolve("index" + i + "/size")); i++) {
            try {
                Path index = FOLDER.resolve("index" + i);
                int level = Integer.parseInt(
                        Files.readString(index.resolve("level")).strip());
                String type = Files.readString(index.resolve("type")).strip();
                if (level < byLevel.length && !type.equals("Instruction")) {
                    byLevel[level] =
                            bytes(Files.readString(index.resolve("size")).strip());
                }
            } catch (IOException | NumberFormatException unknown) {
                return USUAL;
            }
        }
        return byLevel[2] > 0 && byLevel[3] > byLevel[2] ? new Caches(byLevel[2], byLevel[3], true) : USUAL;
    }

    private static long bytes(String size) {
        long unit = size.endsWith("M") ? 1L << 20 : size.endsWith("K") ? 1L << 10 : 1;
        return unit * Long.parseLong(unit == 1 ? size : size.substring(0, size.length() - 1));
    }
}
