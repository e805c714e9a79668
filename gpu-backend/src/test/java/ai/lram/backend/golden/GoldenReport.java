package ai.lram.backend.golden;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Compares results with golden tensors, fails at the end if one is too far off, and keeps every comparison as a JSON line in
 * {@code target/golden-report.jsonl} (or the file named by {@code lram.golden.report}) for a parity table. One thread.
 */
public final class GoldenReport implements AutoCloseable {
    private final Safetensors golden;
    private final String subject;
    private final List<String> failures = new ArrayList<>();
    private int rows;

    /** @param subject what is compared, for example {@code cpu} or {@code cuda:0} */
    public GoldenReport(Safetensors golden, String subject) {
        this.golden = golden;
        this.subject = subject;
    }

    /** Compares {@code got}, laid out as in the file, with a tensor of the file. */
    public void compare(String tensor, float[] got) {
        compare(tensor, got, golden.tolerance(tensor));
    }

    public void compare(String tensor, float[] got, double tolerance) {
        double error = error(got, golden.f32(tensor));
        double floor = golden.f32err(tensor);
        String row = String.format(
                Locale.ROOT,
                "{\"subject\":\"%s\",\"file\":\"%s\",\"tensor\":\"%s\",\"error\":%s,\"floor\":%s,\"tolerance\":%.3e}",
                subject,
                golden.file().getFileName(),
                tensor,
                number(error),
                number(floor),
                tolerance);
        append(row);
        rows++;
        if (!(error <= tolerance)) {
            failures.add(tensor + ": " + error + " > " + tolerance);
        }
    }

    /** max|got - want| / max|want|; the absolute difference where the golden tensor is all zero; infinite if got is not finite. */
    public static double error(float[] got, float[] want) {
        if (got.length != want.length) {
            throw new AssertionError("sizes differ: got " + got.length + ", want " + want.length);
        }
        double diff = 0;
        double scale = 0;
        for (int i = 0; i < got.length; i++) {
            if (!Float.isFinite(got[i])) {
                return Double.POSITIVE_INFINITY;
            }
            diff = Math.max(diff, Math.abs((double) got[i] - want[i]));
            scale = Math.max(scale, Math.abs((double) want[i]));
        }
        return scale == 0 ? diff : diff / scale;
    }

    private static String number(double x) {
        return Double.isFinite(x) ? String.format(Locale.ROOT, "%.3e", x) : "null";
    }

    private static synchronized void append(String row) {
        Path file = Path.of(System.getProperty("lram.golden.report", "target/golden-report.jsonl"));
        try {
            if (file.getParent() != null) {
                Files.createDirectories(file.getParent());
            }
            Files.writeString(
                    file, row + "\n", StandardCharsets.UTF_8, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException e) {
            throw new UncheckedIOException("golden report " + file, e);
        }
    }

    /** Fails with every tensor that is out of tolerance, or if nothing was compared. */
    @Override
    public void close() {
        if (rows == 0) {
            throw new AssertionError(golden.file() + ": nothing was compared");
        }
        if (!failures.isEmpty()) {
            throw new AssertionError(golden.file() + " on " + subject + ": " + failures.size() + " of " + rows
                    + " tensors differ too much:\n  " + String.join("\n  ", failures));
        }
    }
}
