package ai.lram.backend;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.ServiceLoader;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Chooses an engine among the {@link BackendProvider}s on the class path and says once why. */
public final class Backends {
    private static final Logger LOG = LoggerFactory.getLogger(Backends.class);

    private Backends() {}

    public static List<BackendProvider> providers() {
        List<BackendProvider> all = new ArrayList<>();
        ServiceLoader.load(BackendProvider.class).forEach(all::add);
        all.sort(Comparator.comparingInt(BackendProvider::rank).reversed());
        return all;
    }

    /**
     * @param device {@code auto} for the best usable engine, or a provider's name, which must then be usable
     * @throws BackendUnavailableException naming every engine and why it was refused
     */
    public static Backend open(String device, BackendOptions options) {
        return open(providers(), device, options);
    }

    /** The one line that says what was chosen, and why what ranks higher was not. */
    static String choice(Backend chosen, List<String> refusals) {
        return "engine " + chosen.name() + ": " + chosen.describe()
                + (refusals.isEmpty() ? "" : " (refused: " + String.join("; ", refusals) + ")");
    }

    static Backend open(List<BackendProvider> providers, String device, BackendOptions options) {
        List<String> refusals = new ArrayList<>();
        for (BackendProvider p : providers) {
            if (!device.equals("auto") && !device.equals(p.name())) {
                continue;
            }
            Optional<String> why = p.whyUnavailable();
            if (why.isPresent()) {
                refusals.add(p.name() + ": " + why.get());
                continue;
            }
            try {
                Backend b = p.open(options);
                LOG.info(choice(b, refusals));
                return b;
            } catch (BackendUnavailableException | DeviceOutOfMemoryException e) {
                // What only opening could show: the next engine is tried, and this one's reason is logged with it.
                refusals.add(p.name() + ": " + e.getMessage());
            }
        }
        throw new BackendUnavailableException(
                "no engine for device=" + device,
                refusals.isEmpty()
                        ? "known engines are "
                                + providers.stream().map(BackendProvider::name).toList()
                        : String.join("; ", refusals),
                "choose device=auto, device=cpu, or remove the cause named");
    }
}
