import java.io.InputStream;
import java.io.SequenceInputStream;
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Collections;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

/** Speaks HTTP with Java's own client: version, base. See httpClients. */
class WithJava {
    static HttpClient client;

    static void show(String what, HttpRequest request) throws Exception {
        HttpResponse<String> r = client.send(request, BodyHandlers.ofString());
        String version = r.version() == HttpClient.Version.HTTP_2 ? "2" : "1.1";
        System.out.println(what + " " + r.statusCode() + " " + version + " " + r.body().replace('\n', ' '));
    }

    static HttpRequest.Builder to(String url) {
        return HttpRequest.newBuilder(URI.create(url));
    }

    static InputStream parts() {
        return new SequenceInputStream(Collections.enumeration(Collections.nCopies(30, 0).stream()
            .map(i -> new ByteArrayInputStream(new byte[10000])).toList()));
    }

    public static void main(String[] args) throws Exception {
        String base = args[1];
        HttpClient.Builder b = HttpClient.newBuilder(); // of itself it asks for HTTP/2, on plain connections by an upgrade
        client = (args[0].equals("1.1") ? b.version(HttpClient.Version.HTTP_1_1) : b).build();
        show("get", to(base + "/public/get").header("X-Token", System.getenv("TOKEN")).build());
        show("denied", to(base + "/secret").build());
        show("post", to(base + "/public/post").POST(BodyPublishers.ofInputStream(WithJava::parts)).build());
        show("host", to(base.replace("ok.", "no.") + "/").build());
        var many = IntStream.range(0, 16).mapToObj(i -> client.sendAsync(to(base + "/public/many").build(), BodyHandlers.discarding())).toList();
        CompletableFuture.allOf(many.toArray(CompletableFuture[]::new)).join();
        System.out.println("many " + many.stream().filter(r -> r.join().statusCode() == 200).count());
    }
}
