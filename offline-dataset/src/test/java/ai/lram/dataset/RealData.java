package ai.lram.dataset;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;

/** Finds recorded data sets: in the folder of the system property {@code lram.data}, else in {@code data} of the checkout. */
public final class RealData {
    private RealData() {}

    /** The data set {@code name}, or a skipped test with the reason. */
    public static Path require(String name) {
        Path folder = Path.of(System.getProperty("lram.data", "../data")).resolve(name);
        String reason = "skipped: no data set at " + folder.toAbsolutePath().normalize() + "; set -Dlram.data=FOLDER";
        if (!Files.exists(folder)) {
            System.out.println(reason);
        }
        assumeTrue(Files.exists(folder), reason);
        return folder;
    }
}
