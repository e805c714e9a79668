package ai.lram.bench.latency;

import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import ai.lram.bench.BenchException;
import java.util.List;
import java.util.Optional;

/**
 * The engines that control loops are measured on.
 *
 * @param names {@code cpu}, {@code cuda}, or {@code auto} for the one that a server would choose
 * @param remark what readers must know of the choice; empty for nothing
 */
public record Engines(List<String> names, String remark) {
    static final String CPU = "cpu";
    static final String CUDA = "cuda";
    private static final String BOTH = "both";

    /** The usual choice. */
    public static Engines both() {
        return of(BOTH);
    }

    /**
     * @param device {@code cpu}, {@code cuda}, {@code auto}, or {@code both} for all that this machine has of the first two
     * @throws BenchException if there is no such choice, or no GPU where one is asked for
     */
    public static Engines of(String device) {
        return of(device, Backends.providers());
    }

    static Engines of(String device, List<BackendProvider> providers) {
        return switch (device) {
            case CPU, "auto" -> new Engines(List.of(device), "");
            case CUDA -> {
                refusal(providers).ifPresent(why -> {
                    throw new BenchException(
                            "control loops cannot be measured on device=cuda",
                            why,
                            "run it on a machine with an NVIDIA GPU, or measure with --device cpu; lram doctor tells more");
                });
                yield new Engines(List.of(CUDA), "");
            }
            case BOTH ->
                refusal(providers)
                        .map(why -> new Engines(
                                List.of(CPU), "Control loops are measured on the CPU alone; CUDA was refused: " + why))
                        .orElseGet(() -> new Engines(List.of(CPU, CUDA), ""));
            default ->
                throw new BenchException(
                        "control loops are not measured on device=" + device,
                        "there are cpu, cuda, auto and both",
                        "name one of them");
        };
    }

    private static Optional<String> refusal(List<BackendProvider> providers) {
        return providers.stream()
                .filter(p -> p.name().equals(CUDA))
                .findFirst()
                .map(BackendProvider::whyUnavailable)
                .orElseGet(() -> Optional.of("this build has no CUDA engine"));
    }
}
