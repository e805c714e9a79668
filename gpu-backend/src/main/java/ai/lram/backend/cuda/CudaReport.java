package ai.lram.backend.cuda;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/** What {@code lram doctor} says about CUDA on this machine. */
public final class CudaReport {
    private CudaReport() {}

    /**
     * Looks for a CUDA device (once a process; 0.5 s where there is one, as its context is made).
     *
     * @return name and value of everything found, the refusal and its remedy last; in order
     */
    public static SequencedMap<String, String> lines() {
        return lines(CudaBackendProvider.diagnosis(), new LinuxMachine());
    }

    static SequencedMap<String, String> lines(Diagnosis d, Machine machine) {
        SequencedMap<String, String> lines = new LinkedHashMap<>();
        d.facts().forEach(f -> lines.put(f.name(), f.value()));
        Path headers = KernelCompiler.findToolkitHeaders(machine);
        lines.put(
                "headers",
                headers == null
                        ? "none: kernels that need cuda_bf16.h are left out (LRAM_CUDA_INCLUDE names their folder)"
                        : headers.toString());
        lines.put(
                "kernel cache",
                CubinCache.standard(
                                System.getProperty(CubinCache.FOLDER_PROPERTY),
                                machine.environment("XDG_CACHE_HOME"),
                                System.getProperty("user.home"))
                        .folder()
                        .map(Path::toString)
                        .orElse("off"));
        lines.put("verdict", d.usable() ? "usable" : d.cause() + ": " + d.why());
        if (!d.usable()) {
            lines.put("remedy", d.fix());
        }
        return lines;
    }
}
