package ai.lram.backend.cuda;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** A machine with a whole driver and toolkit from which a test takes parts away. */
final class ScriptedMachine implements Machine {
    final Set<String> libraries = new HashSet<>();
    final Set<String> missingSymbols = new HashSet<>();
    final Map<String, String> environment = new HashMap<>();
    final List<Node> nodes = new ArrayList<>();
    String kernelModule = "580.159.03";
    private final List<String> opened = new ArrayList<>();

    ScriptedMachine() {
        for (Library l : Library.values()) {
            libraries.add(l.file());
        }
        nodes.add(new Node("/dev/nvidia0", true, true));
        nodes.add(new Node("/dev/nvidiactl", true, true));
    }

    @Override
    public Opened open(String file) {
        if (libraries.contains(file)) {
            opened.add(file);
            return new Opened(opened.size(), "");
        }
        return new Opened(0, file + ": cannot open shared object file: No such file or directory");
    }

    @Override
    public boolean has(Opened library, String symbol) {
        return !missingSymbols.contains(symbol);
    }

    @Override
    public Optional<String> pathOf(String file) {
        return Optional.of("/lib/" + file);
    }

    @Override
    public String environment(String name) {
        return environment.get(name);
    }

    @Override
    public List<Node> nodes() {
        return nodes;
    }

    @Override
    public Optional<String> kernelModule() {
        return Optional.ofNullable(kernelModule);
    }
}
