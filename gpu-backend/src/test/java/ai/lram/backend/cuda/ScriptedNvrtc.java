package ai.lram.backend.cuda;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A compiler whose CUBIN is the text of what it was given; it fails where the source says so. */
class ScriptedNvrtc implements Nvrtc {
    record Program(String source, String name, List<String> headers, List<String> headerNames, List<String> options) {}

    int major = 13;
    int minor = 0;
    int[] architectures = {75, 80, 86, 89, 90, 100, 120};

    /** What was compiled, in order. */
    final List<Program> compiled = new ArrayList<>();

    final Map<Long, Program> live = new HashMap<>();

    /** Answer of the next compilations, with {@link #log} as their log. */
    int compileStatus = SUCCESS;

    String log = "";
    private long next = 1;

    @Override
    public int version(int[] majorAndMinor) {
        majorAndMinor[0] = major;
        majorAndMinor[1] = minor;
        return SUCCESS;
    }

    @Override
    public int supportedArchitectureCount(int[] count) {
        count[0] = architectures.length;
        return SUCCESS;
    }

    @Override
    public int supportedArchitectures(int[] to) {
        System.arraycopy(architectures, 0, to, 0, to.length);
        return SUCCESS;
    }

    @Override
    public int create(long[] program, String source, String name, List<String> headers, List<String> headerNames) {
        program[0] = next++;
        live.put(program[0], new Program(source, name, List.copyOf(headers), List.copyOf(headerNames), List.of()));
        return SUCCESS;
    }

    @Override
    public int compile(long program, List<String> options) {
        Program p = live.get(program);
        p = new Program(p.source, p.name, p.headers, p.headerNames, List.copyOf(options));
        live.put(program, p);
        compiled.add(p);
        return compileStatus;
    }

    byte[] image(Program program) {
        return ("cubin of " + program).getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public int logSize(long[] bytes, long program) {
        bytes[0] = log.length() + 1;
        return SUCCESS;
    }

    @Override
    public int log(byte[] to, long program) {
        byte[] bytes = log.getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(bytes, 0, to, 0, bytes.length);
        return SUCCESS;
    }

    @Override
    public int cubinSize(long[] bytes, long program) {
        bytes[0] = image(live.get(program)).length;
        return SUCCESS;
    }

    @Override
    public int cubin(byte[] to, long program) {
        byte[] image = image(live.get(program));
        System.arraycopy(image, 0, to, 0, image.length);
        return SUCCESS;
    }

    @Override
    public int destroy(long program) {
        live.remove(program);
        return SUCCESS;
    }

    @Override
    public String statusName(int status) {
        return "NVRTC_STATUS_" + status;
    }
}
