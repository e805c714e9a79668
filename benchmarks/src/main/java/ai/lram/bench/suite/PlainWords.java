package ai.lram.bench.suite;

import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Case names of steps and control loops as sentences for people who do not read case names. */
final class PlainWords {
    private static final Pattern STEP =
            Pattern.compile("step-(\\w+)-(\\w+)(?:-(\\d+)sessions)?-(\\d+)t(?:-ctx(\\d+))?");
    private static final Pattern ONNX_RUNTIME = Pattern.compile("ort-(\\w+)-(\\w+)-(\\d+)t");
    private static final Pattern TRANSFORMER = Pattern.compile("dt-(\\w+)-ctx(\\d+)-(\\d+)t");
    private static final Pattern LOOP = Pattern.compile("(.+?)(-cuda)?-ctx(\\d+)-(\\d+)s-(local|tcp|unix)");

    private PlainWords() {}

    /** Empty for what is neither a step nor a control loop. */
    static Optional<String> of(String bench, String caseName) {
        Matcher step = STEP.matcher(caseName);
        if (bench.equals("step") && step.matches()) {
            return Optional.of(size(step.group(1)) + " model, " + step.group(2) + " weights, " + threads(step.group(4))
                    + (step.group(5) == null ? "" : ", after " + step.group(5) + " steps")
                    + (step.group(3) == null ? "" : ", " + step.group(3) + " sessions in one step"));
        }
        Matcher onnxRuntime = ONNX_RUNTIME.matcher(caseName);
        if (bench.equals("step") && onnxRuntime.matches()) {
            return Optional.of(size(onnxRuntime.group(1)) + " model in ONNX Runtime, " + onnxRuntime.group(2)
                    + " weights, " + threads(onnxRuntime.group(3)));
        }
        Matcher transformer = TRANSFORMER.matcher(caseName);
        if (bench.equals("step") && transformer.matches()) {
            return Optional.of("transformer as large as the " + size(transformer.group(1)) + " model, after "
                    + transformer.group(2) + " steps, " + threads(transformer.group(3)));
        }
        Matcher loop = LOOP.matcher(caseName);
        if (bench.equals("latency") && loop.matches()) {
            return Optional.of("control loop " + loop.group(1) + (loop.group(2) == null ? ", " : " on a GPU, ")
                    + (loop.group(4).equals("1") ? "1 robot" : loop.group(4) + " robots")
                    + switch (loop.group(5)) {
                        case "local" -> ", in process";
                        case "tcp" -> ", over TCP";
                        default -> ", over a Unix socket";
                    });
        }
        return Optional.empty();
    }

    private static String size(String key) {
        return key.toUpperCase(Locale.ROOT);
    }

    private static String threads(String n) {
        return n.equals("1") ? "1 thread" : n + " threads";
    }
}
