package ai.lram.backend.cuda;

import ai.lram.backend.KernelLaunchException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One CUDA source and the headers of ours that it includes, as resources of the jar.
 *
 * @param name file name without its ending
 * @param headers contents by file name, in the order in which they are first included
 */
record KernelSource(String name, String text, SequencedMap<String, String> headers) {
    private static final String FOLDER = "kernels/";
    private static final Pattern INCLUDE = Pattern.compile("(?m)^\\s*#include \"([\\w.]+)\"");

    /** Whether the source includes headers of the toolkit, which then must be installed. */
    boolean needsToolkit() {
        return text.contains("#include <") || headers.values().stream().anyMatch(h -> h.contains("#include <"));
    }

    static KernelSource load(String name) {
        String text = read(name + ".cu");
        SequencedMap<String, String> headers = new LinkedHashMap<>();
        collect(text, headers);
        return new KernelSource(name, text, headers);
    }

    private static void collect(String text, Map<String, String> headers) {
        Matcher m = INCLUDE.matcher(text);
        while (m.find()) {
            if (!headers.containsKey(m.group(1))) {
                String header = read(m.group(1));
                headers.put(m.group(1), header);
                collect(header, headers);
            }
        }
    }

    private static String read(String file) {
        try (InputStream in = KernelSource.class.getResourceAsStream(FOLDER + file)) {
            if (in == null) {
                throw new KernelLaunchException(
                        "reading the CUDA source " + file,
                        "it is not among this jar's resources",
                        "build gpu-backend with its resources");
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new KernelLaunchException(
                    "reading the CUDA source " + file, e.toString(), "check the jar file on the class path", e);
        }
    }
}
