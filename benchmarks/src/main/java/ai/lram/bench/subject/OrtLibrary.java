package ai.lram.bench.subject;

import ai.onnxruntime.OrtEnvironment;
import java.util.Optional;

/** ONNX Runtime's native library, which its jar brings along for the usual platforms. */
public final class OrtLibrary {
    private static final class Loaded {
        static final Optional<String> WHY_NOT = whyNot(OrtEnvironment::getEnvironment);
    }

    private OrtLibrary() {}

    /** Empty where it loads, else what went wrong, in one line. The first call unpacks and loads it. */
    public static Optional<String> whyUnavailable() {
        return Loaded.WHY_NOT;
    }

    /** Its version. */
    static String version() {
        return OrtEnvironment.getEnvironment().getVersion();
    }

    /** @param load fails as loading the library does: with a linkage error, or a runtime exception around an I/O error */
    static Optional<String> whyNot(Runnable load) {
        try {
            load.run();
            return Optional.empty();
        } catch (LinkageError | RuntimeException e) {
            Throwable first = e;
            while (first.getCause() != null) {
                first = first.getCause();
            }
            return Optional.of("the library of ONNX Runtime does not load here ("
                    + first.toString().lines().findFirst().orElse("") + ")");
        }
    }
}
