package ai.lram.backend.cpu;

import ai.lram.backend.BackendUnavailableException;
import java.util.Locale;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who multiplies large matrices. System property {@value #PROPERTY}: {@code own}, {@code openblas}, {@code nd4j}, or {@code auto} (the
 * default): OpenBLAS where it runs AVX-512 kernels, else the kernels of this package, which are faster than its AVX2 ones.
 */
enum GemmChoice {
    AUTO,
    OWN,
    OPENBLAS,
    ND4J;

    static final String PROPERTY = "lram.gemm";

    /** Fewest rows for which OpenBLAS or ND4J are asked. */
    static final int LIBRARY_ROWS = 96;

    private static final Set<String> AVX512_CORES = Set.of("SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5");

    static GemmChoice fromProperty() {
        String name = System.getProperty(PROPERTY, "auto");
        for (GemmChoice c : values()) {
            if (c.name().equals(name.toUpperCase(Locale.ROOT))) {
                return c;
            }
        }
        throw new BackendUnavailableException(
                "-D" + PROPERTY + "=" + name,
                "there is no such matrix multiplication",
                "use auto, own, openblas or nd4j");
    }

    /** What is used for a product with {@code rows} rows; never {@link #AUTO}. Few rows load no library. */
    GemmChoice resolve(int rows) {
        if (this == OWN || rows < LIBRARY_ROWS) {
            return OWN;
        }
        return this == AUTO ? Detected.CHOICE : this;
    }

    /** Asked once, by the first large product. */
    private static final class Detected {
        private static final Logger LOG = LoggerFactory.getLogger(GemmChoice.class);

        static final GemmChoice CHOICE = detect();

        private static GemmChoice detect() {
            try {
                String core = BlasCore.name();
                GemmChoice choice = AVX512_CORES.contains(core) ? OPENBLAS : OWN;
                LOG.info(
                        "large products: {} (OpenBLAS core {}; -D{}=own|openblas|nd4j overrides)",
                        choice,
                        core,
                        PROPERTY);
                return choice;
            } catch (LinkageError e) {
                LOG.info("large products: OWN (OpenBLAS does not load here: {})", e.toString());
                return OWN;
            }
        }
    }
}
