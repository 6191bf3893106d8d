import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

public class Wait extends HttpServlet {
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws java.io.IOException {
        try {
            Thread.sleep((long) (1000 * Double.parseDouble(request.getPathInfo().substring(1))));
        } catch (InterruptedException e) {
            response.setStatus(500);
        }
        response.getWriter().print("ok");
    }
}
