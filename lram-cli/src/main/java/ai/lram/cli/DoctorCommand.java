package ai.lram.cli;

import ai.lram.agent.engine.EngineChoice;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import ai.lram.backend.cpu.BlasCore;
import ai.lram.backend.cuda.CudaReport;
import ai.lram.bench.Host;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import jdk.incubator.vector.FloatVector;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Says what this machine offers and which engine would run, before anything depends on it. */
@Command(
        name = "doctor",
        description =
                "Prints the JDK, the processor, the numeric libraries, what CUDA finds and the engine that would be used.",
        mixinStandardHelpOptions = true)
final class DoctorCommand implements Runnable {
    @Spec
    private CommandSpec spec;

    @Option(
            names = "--device",
            paramLabel = "NAME",
            description = "auto, or the engine that must be usable: cpu, cuda (default: ${DEFAULT-VALUE}).")
    private String device = "auto";

    @Override
    public void run() {
        line(
                "JDK",
                Runtime.version() + ", " + System.getProperty("java.vendor") + ", " + System.getProperty("java.home"));
        line(
                "system",
                System.getProperty("os.name") + " " + System.getProperty("os.version") + ", "
                        + System.getProperty("os.arch"));
        line("processor", Host.processor() + ", " + Runtime.getRuntime().availableProcessors() + " available");
        line(
                "heap",
                (Runtime.getRuntime().maxMemory() >> 20) + " MiB at most, "
                        + ManagementFactory.getGarbageCollectorMXBeans()
                                .getFirst()
                                .getName());
        line(
                "vectors",
                FloatVector.SPECIES_PREFERRED.vectorBitSize() + " bits (" + FloatVector.SPECIES_PREFERRED.length()
                        + " floats)");
        line("OpenBLAS", blas());
        CudaReport.lines().forEach((name, value) -> line("CUDA", name + ": " + value));
        int usable = 0;
        for (BackendProvider provider : Backends.providers()) {
            usable += provider.whyUnavailable().isEmpty() ? 1 : 0;
            line(
                    "engine",
                    provider.name() + ": "
                            + provider.whyUnavailable()
                                    .map(why -> "unusable; " + why)
                                    .orElse("usable"));
        }
        try (Backend chosen = Backends.open(device, BackendOptions.defaults())) {
            line("chosen", chosen.name() + " (" + chosen.describe() + ")");
        }
        if (device.equals(EngineChoice.AUTO)) {
            line(
                    "serving",
                    usable > 1
                            ? "the engine on which steps of the model are the fastest, measured when a server starts"
                            : "the same engine, the only one that can be used here");
        }
    }

    private void line(String name, String value) {
        PrintWriter out = spec.commandLine().getOut();
        out.printf("%-10s %s%n", name, value);
        out.flush();
    }

    private static String blas() {
        String forced = System.getenv("OPENBLAS_CORETYPE");
        try {
            return "core " + BlasCore.name() + (forced == null ? "" : " (OPENBLAS_CORETYPE=" + forced + " is set)");
        } catch (LinkageError e) {
            return "not loadable: " + e.getMessage();
        }
    }
}
